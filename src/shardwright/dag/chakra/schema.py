"""The messages of Chakra execution traces that we write, and their frame.

Source: mlcommons/chakra at 6dc63e1: schema/protobuf/et_def.proto for numbers and types,
src/third_party/utils/protolib.py for the frame.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from shardwright.errors import EnvironmentLacksError

PACKAGE = "ChakraProtoMsg"

VERSION = "0.0.4"
"""What Chakra's own converters write into GlobalMetadata."""

FIELDS = (
    # message, field, number, type
    ("AttributeProto", "name", 1, "string"),
    ("AttributeProto", "int32_val", 7, "one of int32"),
    ("AttributeProto", "int64_val", 9, "one of int64"),
    ("AttributeProto", "uint64_val", 13, "one of uint64"),
    ("AttributeProto", "bool_val", 27, "one of bool"),
    ("AttributeProto", "string_val", 29, "one of string"),
    ("GlobalMetadata", "version", 1, "string"),
    ("GlobalMetadata", "attr", 2, "repeated AttributeProto"),
    ("Node", "id", 1, "uint64"),
    ("Node", "name", 2, "string"),
    ("Node", "type", 3, "int32"),  # an enumeration, on the wire as an int32
    ("Node", "ctrl_deps", 4, "repeated uint64"),
    ("Node", "data_deps", 5, "repeated uint64"),
    ("Node", "start_time_micros", 6, "uint64"),
    ("Node", "duration_micros", 7, "uint64"),
    ("Node", "attr", 10, "repeated AttributeProto"),
)
"""'one of': of the field `value`, of which one is set, so that a zero is written too."""


class NodeType(IntEnum):
    COMP_NODE = 4
    COMM_SEND_NODE = 5
    COMM_RECV_NODE = 6
    COMM_COLL_NODE = 7


class CollectiveCommType(IntEnum):
    ALL_REDUCE = 0
    ALL_GATHER = 2
    ALL_TO_ALL = 6
    REDUCE_SCATTER = 7


@dataclass(frozen=True)
class Messages:
    """The classes of the messages."""

    metadata: type[Any]
    node: type[Any]


@cache
def messages() -> Messages:
    """Made from the table, in a pool of their own. Raises EnvironmentLacksError without protobuf."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415
    except ImportError as error:
        needs = f"--format chakra needs protobuf: pip install 'shardwright[chakra]' ({error})"
        raise EnvironmentLacksError(needs) from None
    file = descriptor_pb2.FileDescriptorProto(name="chakra.proto", package=PACKAGE, syntax="proto3")
    found: dict[str, Any] = {}
    for message, name, number, kind in FIELDS:
        if message not in found:
            found[message] = file.message_type.add(name=message)
        field = found[message].field.add(name=name, number=number)
        *label, plain = kind.split()
        field.label = field.LABEL_REPEATED if label == ["repeated"] else field.LABEL_OPTIONAL
        if label == ["one", "of"]:
            if not found[message].oneof_decl:
                found[message].oneof_decl.add(name="value")
            field.oneof_index = 0
        if plain in found:
            field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
        else:
            field.type = getattr(field, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    metadata, node = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in ("GlobalMetadata", "Node")
    )
    return Messages(metadata, node)


def framed(body: bytes) -> bytes:
    """A message after its length, as a varint: seven bits a byte, the lowest first."""
    length, prefix = len(body), bytearray()
    while length > 0x7F:
        prefix.append(0x80 | length & 0x7F)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + body
