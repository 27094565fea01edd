"""The graph and its timeline as a document: every worker, every operation, and when it happens."""

from shardwright.dag.schedule import Schedule
from shardwright.dag.timeline import Engine, Slice, Timeline
from shardwright.dag.worker import Worker
from shardwright.layout.grid import Role
from shardwright.record import Record
from shardwright.steps.operation import Communication, Family

SCHEMA_VERSION = 1


class WorkerRecord(Record):
    """Ranks that do the same work at the same time. stage: null for experts that all stages share."""

    name: str
    role: Role
    stage: int | None
    ranks: tuple[int, ...]


class NodeRecord(Record):
    """One operation of each rank of a worker, for one micro-batch (null: of all) of one step.

    worker: its place in `workers`. layer: null for the embedding, the head and what goes between stages.
    dimension: the axis of the layout that a communication is over (tp, tp_near, tp_far, dp, ep, etp, pp,
    and exchange for the all-to-all of EP), null for computing; num_ranks: of its group, 1 for computing.
    bytes: moved through device memory (computing), or of the payload (communication), on one rank.
    after: numbers of the nodes that must have ended. meets: the other side of the same exchange.
    """

    number: int
    worker: int
    stage: int
    step: int
    micro_batch: int | None
    layer: int | None
    operation: str
    family: Family
    uses: Engine
    dimension: str | None
    num_ranks: int
    bytes: float
    flops: float
    start_s: float
    end_s: float
    after: tuple[int, ...]
    meets: int | None


class StepGraph(Record):
    """What every GPU does in `num_steps` decode steps, and when, from empty. nodes by number."""

    schema_version: int = SCHEMA_VERSION
    layout: str
    """Canonical form."""
    model: str
    engine: str
    schedule: Schedule
    num_steps: int
    makespan_s: float
    workers: tuple[WorkerRecord, ...]
    nodes: tuple[NodeRecord, ...]


def step_document(
    timeline: Timeline, *, layout: str, model: str, engine: str, schedule: Schedule, num_steps: int = 1
) -> StepGraph:
    """The timeline as a record; the names are those of what it was made of."""
    return StepGraph(
        layout=layout,
        model=model,
        engine=engine,
        schedule=schedule,
        num_steps=num_steps,
        makespan_s=timeline.makespan_s,
        workers=tuple(_worker(worker) for worker in timeline.graph.workers),
        nodes=tuple(_node(piece) for piece in timeline.slices),
    )


def _worker(worker: Worker) -> WorkerRecord:
    return WorkerRecord(name=worker.name, role=worker.role, stage=worker.stage, ranks=worker.ranks)


def _node(piece: Slice) -> NodeRecord:
    node, operation = piece.node, piece.node.operation
    return NodeRecord(
        number=node.number,
        worker=node.worker,
        stage=node.stage,
        step=node.step,
        micro_batch=node.micro_batch,
        layer=operation.layer,
        operation=operation.name,
        family=operation.family,
        uses=piece.engine,
        dimension=operation.axis if isinstance(operation, Communication) else None,
        num_ranks=int(operation.num_ranks) if isinstance(operation, Communication) else 1,
        bytes=float(operation.bytes),
        flops=float(operation.flops),
        start_s=piece.start_s,
        end_s=piece.end_s,
        after=node.after,
        meets=node.meets,
    )
