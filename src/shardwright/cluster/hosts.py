"""The nodes of a cluster by name: a list, or a host file as MPI and DeepSpeed read it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shardwright.errors import InputError

MAX_BYTES = 1_000_000

_HOST = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,252})(:(?P<count>[0-9]{1,4}))?(?P<rest>(\s+[a-z_-]+=[0-9]{1,4})*)"
)
_SLOTS = re.compile(r"\bslots=([0-9]+)")


@dataclass(frozen=True)
class Host:
    """A node; slots: the GPUs of it that are used, where stated."""

    name: str
    slots: int | None = None


def read_hosts(path: Path) -> tuple[Host, ...]:
    """The hosts in a file: one a line, `name`, `name slots=8` (Open MPI, DeepSpeed) or `name:8` (MPICH); what
    follows a # is passed over.

    Raises InputError.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "text in UTF-8"
        raise InputError(
            "cluster.hosts", str(path), f"a list of hosts, or a readable file ({reason})"
        ) from None
    if len(raw) > MAX_BYTES:
        raise InputError("cluster.hosts", str(path), f"a file under {MAX_BYTES} bytes")
    return parse_hosts(
        [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    )


def parse_hosts(lines: Sequence[object]) -> tuple[Host, ...]:
    """The hosts that the lines name.

    Raises InputError for a line that is none, a host named twice, unequal slots, and for no host at all.
    """
    hosts = []
    for line in lines:
        match = _HOST.fullmatch(line) if isinstance(line, str) else None
        if match is None:
            raise InputError("cluster.hosts", line, "names of hosts, each with slots=N or not")
        stated = match["count"] or next(iter(_SLOTS.findall(match["rest"])), None)
        hosts.append(Host(match["name"], None if stated is None else int(stated)))
    named = Counter(host.name for host in hosts)
    twice = next((name for name, count in named.items() if count > 1), None)
    if twice is not None or not hosts:
        raise InputError("cluster.hosts", twice or "no host", "one host at least, and each host once")
    if len({host.slots for host in hosts}) > 1 or hosts[0].slots == 0:
        slots = sorted({str(host.slots) for host in hosts})
        raise InputError(
            "cluster.hosts", f"slots {', '.join(slots)}", "the same number of GPUs on every host"
        )
    return tuple(hosts)
