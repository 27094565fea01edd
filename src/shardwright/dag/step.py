"""One step of a layout under a load, as a graph and as a timeline: steps/ recorded, cost/ for the seconds."""

from dataclasses import replace

from shardwright.cluster.cluster import Cluster
from shardwright.cost.constants import constants
from shardwright.cost.price import wires_of
from shardwright.cost.step import operation_seconds
from shardwright.dag.chain import Work, chains
from shardwright.dag.graph import build_graph
from shardwright.dag.schedule import Schedule
from shardwright.dag.timeline import Timeline, simulate
from shardwright.engine.engine import Engine
from shardwright.layout.layout import Layout
from shardwright.layout.stages import stage_counts
from shardwright.model.spec import ModelSpec
from shardwright.steps.load import Load
from shardwright.steps.operation import Communication, Operation


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
    """`num_steps` steps, each of schedule.micro_batches micro-batches of `load`, recorded and played.

    A communication is between nodes where any group of its axis is. Raises ProgramError where the
    programs of the ranks do not fit together.
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

    def tier(operation: Communication) -> str:
        return "far" if float(wires.nodes[operation.axis]) > 1 else "near"

    recorded = chains(work, schedule, num_steps)
    graph = build_graph(work.workers, recorded, seconds, serial=schedule.order == "serial")
    return simulate(graph, schedule, tier)
