"""What to know before a launch is started, in sentences."""

from shardwright.engine.engine import Engine
from shardwright.engine.launcher import Launcher
from shardwright.engine.start import HEAD_ADDRESS, Executor
from shardwright.layout.notation import parse_layout
from shardwright.plan.plan import Plan
from shardwright.search.engine import engine_of
from shardwright.search.start import nodes_of, world_of


def notes_of(plan: Plan, engine: Engine, executor: Executor) -> tuple[str, ...]:
    """What the plan says of its start on this engine, and of the nodes that it is started on."""
    return (*notes_of_plan(plan, engine), *_notes_of_nodes(plan, engine, executor))


def notes_of_plan(plan: Plan, engine: Engine) -> tuple[str, ...]:
    """Obstacles, what its figures are of, and what the checkpoint must hold: wherever it is started."""
    launcher, priced = engine.launcher, engine_of(plan.deployment)
    assert launcher is not None
    notes = [f"The plan found an obstacle: {obstacle.sentence}." for obstacle in plan.obstacles]
    if priced.id != engine.id:
        notes.append(
            f"The plan's figures are for {priced.title} {priced.version}, and are no prediction for "
            f"{engine.title} {engine.version}."
        )
    weights = _weights(plan, launcher)
    return (*notes, *((weights,) if weights else ()))


def _notes_of_nodes(plan: Plan, engine: Engine, executor: Executor) -> list[str]:
    deployment, pool = plan.deployment, plan.pools[0]
    layout, cluster = parse_layout(pool.layout), deployment.cluster
    launcher = engine.launcher
    assert launcher is not None
    world = world_of(engine, layout)
    size, nodes = world.num_gpus, nodes_of(world, cluster)
    notes = []
    if nodes > 1 and executor == "ray":
        notes.append(
            f"A Ray cluster must run on all {nodes} nodes of a copy; its one command goes to the first."
        )
    elif nodes > 1 and launcher.world == "mpi":
        notes.append(
            f"A copy is one MPI world: start it once, in a Slurm allocation of its {nodes} nodes, or with "
            "NODES set for mpirun; the files lie at the same place on all of them."
        )
    elif nodes > 1:
        notes.append(
            f"Set {HEAD_ADDRESS} to the address of a copy's first node, on the network that joins its nodes: "
            "the rendezvous is there. Set NETWORK_INTERFACE to that network's interface on each node."
        )
    if nodes > 1 and size % cluster.gpus_per_node:
        notes.append(
            f"Each of the {nodes} nodes of a copy gives {size // nodes} of its {cluster.gpus_per_node} GPUs; "
            "the plan priced them as filled one after the other."
        )
    if layout.copies > 1 and launcher.copies_apart and launcher.health:
        notes.append(f"{layout.copies} servers: requests are to be spread over all of them.")
    return notes


def _weights(plan: Plan, launcher: Launcher) -> str:
    """Weights in few bits that the engine does not make at start must be in the checkpoint."""
    model = plan.deployment.model
    stored = {model.weight_dtype, model.expert_dtype} - {"fp32", "bf16", "fp16"}
    made = (
        {model.weight_dtype} & set(launcher.quantises) if model.expert_dtype == model.weight_dtype else set()
    )
    if model.quantised or not stored - made:
        return ""
    return f"The plan takes weights in {model.stored_in}: the checkpoint must hold them so."
