"""A node of a trace, as bytes: what is the same on all ranks of a worker, and what is a rank's own.

Messages that follow each other in one body are read as one merged message, lists joined (Protocol Buffers,
'Encoding', last field wins and repeated fields are concatenated): so the two are made apart, and joined.
Attributes and their types are those that readers ask for: mlcommons/chakra at 02da5d0,
src/feeder/et_feeder_node.cpp; astra-sim/astra-sim at 0383c20, astra-sim/workload/Workload.cc.
"""

from shardwright.dag.chakra.dependencies import Entry
from shardwright.dag.chakra.schema import CollectiveCommType, NodeType, messages
from shardwright.steps.operation import AllReduce, Communication, Exchange, Gather, Operation, Transfer

ATTRIBUTES = {
    "is_cpu_op": "bool_val",
    "num_ops": "int64_val",
    "tensor_size": "uint64_val",
    "comm_type": "int64_val",
    "comm_size": "int64_val",
    "comm_src": "int32_val",
    "comm_dst": "int32_val",
    "comm_tag": "int32_val",
    "pg_name": "string_val",
    "layer": "int32_val",
    "stage": "int32_val",
    "step": "int32_val",
    "micro_batch": "int32_val",
    "axis": "string_val",
}
"""Name -> the field of its value. From `layer` on they are ours, for people."""

Value = bool | int | str


def shared_body(entry: Entry) -> bytes:
    """All but the groups and peers of a rank. Times are cut on microseconds: slices that touch still do."""
    piece, node = entry.piece, entry.piece.node
    start, end = (round(at_s * 1e6) for at_s in (piece.start_s, max(piece.start_s, piece.end_s)))
    message = messages().node(
        id=node.number,
        name=node.operation.name,
        type=_type(node.operation),
        data_deps=entry.data,
        ctrl_deps=entry.control,
        start_time_micros=start,
        duration_micros=end - start,
    )
    where = {"layer": node.operation.layer, "stage": node.stage, "step": node.step}
    attributes = _work(node.operation) | where | {"micro_batch": node.micro_batch}
    return bytes(message.SerializeToString()) + own_body(**attributes)


def own_body(**attributes: Value | None) -> bytes:
    """Attributes to join to a body; those that are None are left out."""
    attr = [
        {"name": name, ATTRIBUTES[name]: value} for name, value in attributes.items() if value is not None
    ]
    return bytes(messages().node(attr=attr).SerializeToString())


def comm_type(operation: Communication) -> CollectiveCommType:
    """The collective of Chakra; an exchange between two sides is an all-to-all of both."""
    match operation:
        case AllReduce():
            return CollectiveCommType.ALL_REDUCE
        case Gather(reduces=True):
            return CollectiveCommType.REDUCE_SCATTER
        case Gather():
            return CollectiveCommType.ALL_GATHER
        case Exchange():
            return CollectiveCommType.ALL_TO_ALL
    raise AssertionError(f"{operation.name} is no collective")


def _type(operation: Operation) -> NodeType:
    match operation:
        case Transfer():
            return NodeType.COMM_SEND_NODE if operation.sends else NodeType.COMM_RECV_NODE
        case Communication():
            return NodeType.COMM_COLL_NODE
    return NodeType.COMP_NODE


def _work(operation: Operation) -> dict[str, Value | None]:
    """Bytes are what a rank puts in: of an all-gather its own part (astra-sim, Ring.cc: final_data_size)."""
    if not isinstance(operation, Communication):
        work = {"num_ops": round(float(operation.flops)), "tensor_size": round(float(operation.bytes))}
        return {"is_cpu_op": False, **work}
    size = float(operation.bytes)
    if isinstance(operation, Transfer):
        return {"is_cpu_op": False, "comm_size": round(size), "axis": operation.axis}
    kind = comm_type(operation)
    if kind is CollectiveCommType.ALL_GATHER:
        size /= float(operation.num_ranks)
    return {"is_cpu_op": False, "comm_type": int(kind), "comm_size": round(size), "axis": operation.axis}
