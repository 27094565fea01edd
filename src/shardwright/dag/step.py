"""One step of a layout under a load, as a graph and as a timeline: steps/ recorded, cost/ for the seconds."""

from dataclasses import replace

from shardwright.cluster.cluster import Cluster
from shardwright.cost.constants import constants
from shardwright.cost.price import wires_of
from shardwright.cost.step import operation_seconds
from shardwright.dag.chain import Work, chains
from shardwright.dag.graph import Graph, build_graph
from shardwright.dag.schedule import Schedule
from shardwright.dag.timeline import Timeline, simulate
from shardwright.engine.engine import Engine
from shardwright.layout.layout import Layout
from shardwright.layout.stages import stage_counts
from shardwright.model.spec import ModelSpec
from shardwright.steps.load import Load
from shardwright.steps.operation import Operation


def step_graph(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    layout: Layout,
    load: Load,
    schedule: Schedule,
    *,
    num_steps: int = 1,
) -> Graph:
    """The graph of `num_steps` steps, each of schedule.micro_batches micro-batches of `load`.

    Raises ProgramError where the programs of the ranks do not fit together.
    """
    work = Work(
        model=model,
        layout=layout,
        stage_layers=stage_counts(layout, model.num_layers, engine.stages),
        load=load,
        exchange=engine.exchange,
        rank_order=engine.rank_order,
        expert_order=engine.expert_order,
    )
    wires, law = wires_of(engine, cluster, layout), constants()
    known: dict[Operation, float] = {}

    def seconds(operation: Operation) -> float:
        alike = replace(operation, layer=None)
        if alike not in known:
            known[alike] = float(operation_seconds(operation, cluster.device, wires, law))
        return known[alike]

    recorded = chains(work, schedule, num_steps)
    return build_graph(work.workers, recorded, seconds, serial=schedule.order == "serial")


def step_timeline(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    layout: Layout,
    load: Load,
    schedule: Schedule,
    *,
    num_steps: int = 1,
) -> Timeline:
    """The same, played. A communication is between nodes where any of its axis's groups is."""
    graph = step_graph(model, engine, cluster, layout, load, schedule, num_steps=num_steps)
    nodes = wires_of(engine, cluster, layout).nodes

    def tier(operation: Operation) -> str:
        return "far" if float(nodes[getattr(operation, "axis")]) > 1 else "near"  # noqa: B009 - communication

    return simulate(graph, schedule, tier)
