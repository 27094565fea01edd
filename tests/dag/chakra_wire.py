"""Chakra files read by hand: varints and lengths, with numbers from et_def.proto and not from our table."""

from dataclasses import dataclass
from typing import Any

KINDS = {4: "comp", 5: "send", 6: "recv", 7: "coll"}
COLLECTIVES = {0: "ALL_REDUCE", 2: "ALL_GATHER", 6: "ALL_TO_ALL", 7: "REDUCE_SCATTER"}
TEXT = (29,)
BOOL = (27,)


@dataclass(frozen=True)
class WireNode:
    id: int
    name: str
    kind: str
    ctrl_deps: tuple[int, ...]
    data_deps: tuple[int, ...]
    start_us: int
    lasts_us: int
    attr: dict[str, Any]

    @property
    def deps(self) -> tuple[int, ...]:
        return self.ctrl_deps + self.data_deps

    @property
    def is_signal(self) -> bool:
        return self.name == "signal"


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def frames(data: bytes) -> list[bytes]:
    """The messages of a file."""
    found, at = [], 0
    while at < len(data):
        length, at = varint(data, at)
        found.append(data[at : at + length])
        at += length
    assert at == len(data)
    return found


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of each field; only varints and lengths are expected."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == 0:
            value, at = varint(data, at)
        else:
            assert wire == 2
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        found.append((number, value))
    return found


def attribute(data: bytes) -> tuple[str, Any]:
    (one, name), (number, value) = fields(data)
    assert one == 1
    if number in TEXT:
        return name.decode(), value.decode()
    return name.decode(), bool(value) if number in BOOL else value


def packed(data: bytes) -> tuple[int, ...]:
    found, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        found.append(value)
    return tuple(found)


def wire_node(data: bytes) -> WireNode:
    plain: dict[int, Any] = {}
    attr: dict[str, Any] = {}
    for number, value in fields(data):
        if number == 10:
            name, said = attribute(value)
            assert name not in attr
            attr[name] = said
        else:
            assert number not in plain
            plain[number] = value
    return WireNode(
        id=plain.get(1, 0),
        name=plain[2].decode(),
        kind=KINDS[plain[3]],
        ctrl_deps=packed(plain.get(4, b"")),
        data_deps=packed(plain.get(5, b"")),
        start_us=plain.get(6, 0),
        lasts_us=plain.get(7, 0),
        attr=attr,
    )


def wire_nodes(data: bytes) -> list[WireNode]:
    return [wire_node(frame) for frame in frames(data)[1:]]


def wire_metadata(data: bytes) -> dict[str, str]:
    version, *attr = fields(frames(data)[0])
    assert version[0] == 1 and all(number == 2 for number, _ in attr)
    return {"version": version[1].decode()} | dict(attribute(value) for _, value in attr)
