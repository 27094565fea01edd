"""What starts a priced layout: its schedule and its load, as settings of the engine that runs it."""

from shardwright.cluster.cluster import Cluster
from shardwright.dag.schedule import Schedule, in_words
from shardwright.engine.engine import Engine
from shardwright.engine.start import Place, Spoken, Start
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import Deployment
from shardwright.search.engine import engine_of, starter_of

OWN_RUNTIME = "shardwright"

KV_DTYPES = ("fp32", "bf16", "fp16", "fp8")
"""KV caches that an engine is told of by one word; but for fp8, they are those of the activations."""

ALONE = Place()
"""A copy on one node, where the engine chooses what it listens on."""


def spoken_by_starter(
    deployment: Deployment,
    layout: Layout,
    schedule: Schedule,
    sequences_per_rank: int,
    place: Place = ALONE,
) -> Spoken | None:
    """What starts one process of a copy on the engine that starts the layout; None where nothing does.

    An engine that the layout was not priced for takes its own schedule. Raises InputError where the engine
    cannot run the schedule.
    """
    engine = starter_of(deployment, layout)
    if engine.launcher is None or layout.home not in engine.homes:
        return None
    if engine.id != engine_of(deployment).id:
        schedule = Schedule()
    start = start_for(deployment, layout, engine, schedule, sequences_per_rank)
    return engine.launcher.speak(start.model_copy(update={"place": place}))


def start_for(
    deployment: Deployment, layout: Layout, engine: Engine, schedule: Schedule, sequences_per_rank: int
) -> Start:
    """One copy of `layout` under `schedule`, with room for its sequences in a step of every attention rank.

    The limits of a step are said where the deployment states them, or where the engine's defaults are below
    what the plan puts on a rank. Raises InputError for a schedule that the engine cannot run.
    """
    _check(deployment, layout, engine, schedule)
    if deployment.model.kv_dtype not in KV_DTYPES:
        raise InputError("model.kv_dtype", deployment.model.kv_dtype, f"one of {', '.join(KV_DTYPES)}")
    tuning = deployment.tuning
    default = engine.memory.limits_on(deployment.cluster.device).max_sequences
    limit = tuning.max_sequences or default
    updates: dict[str, object] = {}
    if sequences_per_rank > limit:
        updates["max_sequences"] = sequences_per_rank
    overlap = schedule.order == "overlapped" and engine.name != OWN_RUNTIME
    if overlap and engine.overlap is not None:
        updates["exchange"] = engine.overlap.exchange
    elif schedule.exchange is not None:
        updates["exchange"] = schedule.exchange
    return Start(
        layout=layout,
        model=deployment.model,
        max_model_len=deployment.workload.max_model_len,
        tuning=tuning.model_copy(update=updates),
        overlap=overlap,
        micro_batches=schedule.micro_batches,
        near_ranks=schedule.near_ranks,
        batched=schedule.batched,
    )


def _check(deployment: Deployment, layout: Layout, engine: Engine, schedule: Schedule) -> None:
    """Raise InputError for a schedule that the engine cannot run."""
    if engine.name == OWN_RUNTIME:
        return
    title, cluster = f"{engine.title} {engine.version}", deployment.cluster
    if schedule.order == "overlapped":
        overlap = engine.overlap
        if overlap is None or not overlap.works(layout, cluster):
            allowed = f"a schedule without overlap: {title} has none for this layout"
            raise InputError("schedule", in_words(schedule), allowed)
        if schedule.micro_batches not in overlap.micro_batches:
            counts = " or ".join(map(str, overlap.micro_batches))
            raise InputError("schedule.micro_batches", schedule.micro_batches, f"{counts} in {title}")
    if schedule.near_ranks > 1 and not engine.sums_in_levels:
        raise InputError("schedule.near_ranks", schedule.near_ranks, f"1: {title} has no hierarchical sums")
    if schedule.batched:
        raise InputError("schedule.batched", True, f"false: {title} sends each micro-batch by itself")


def world_of(engine: Engine, layout: Layout) -> Layout:
    """What is started together: one copy, or all of them."""
    apart = engine.launcher is None or engine.launcher.copies_apart
    return layout.model_copy(update={"copies": 1}) if apart else layout


def nodes_of(world: Layout, cluster: Cluster) -> int:
    """Nodes that it needs when it fills them one after the other."""
    return -(-world.num_gpus // cluster.gpus_per_node)


def cannot_span(engine: Engine, layout: Layout, cluster: Cluster) -> str:
    """Why a copy does not start over the nodes that it needs, in a clause; "" where it does."""
    world = world_of(engine, layout)
    nodes, size = nodes_of(world, cluster), world.num_gpus
    if nodes == 1:
        return ""
    over = f"a copy of {size} GPUs over {nodes} nodes of {cluster.gpus_per_node}"
    if size % nodes:
        return f"{over} does not divide"
    why = engine.launcher.spans(world, nodes) if engine.launcher else "no command starts it"
    return f"{over} does not start: {why}" if why else ""
