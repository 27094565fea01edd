"""What was measured on a machine of one's own -> its profile, with the data sheet that it lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from shardwright import __version__
from shardwright.calibrate.calibration import FAMILIES, Outcome, fit_laws
from shardwright.calibrate.collectives import collective_of
from shardwright.calibrate.fit import Kind, Parameter
from shardwright.calibrate.rows import Rows
from shardwright.cluster.device import Device, Link
from shardwright.cost.collectives import CollectiveLaw, collective_form_seconds, passed_bytes
from shardwright.cost.law import OPERANDS
from shardwright.cost.profile import Profile
from shardwright.cost.residual import Axis
from shardwright.cost.small import SmallLaw, small_features, small_form_seconds
from shardwright.model.dtype import Dtype
from shardwright.record import Size
from shardwright.steps.operation import Communication

DeviceKind = Literal["cpu", "cuda"]

LOOPBACK = "loopback"
"""The link between processes of one machine."""

UNMEASURED_LINK = "PCIe4-x16"
"""What joins the GPUs of a node where nothing better is known."""

LEAST_RATE, MOST_LATENCY_S = 1e7, 1e-2
"""Beyond these no link is believed: what was seen are processes that waited for a core."""

SEEN = "measured: the best rates seen"


@dataclass(frozen=True, kw_only=True)
class Host:
    """What a machine says of itself. known: its sheet in the device catalog.

    num_sms: of a CPU, the threads that torch uses.
    """

    kind: DeviceKind
    name: str
    vendor: str
    memory_bytes: int
    num_sms: int
    torch_version: str
    known: Device | None = None

    @property
    def device_name(self) -> str:
        """By which a plan asks for it."""
        if self.known is not None:
            return self.known.name
        words = self.name.replace("(R)", "").replace("(TM)", "").split()
        return "-".join([*words, *([f"{self.num_sms}-threads"] if self.kind == "cpu" else [])])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Rows by the field of a profile that they are for. memory: of long copies and reads."""

    host: Host
    memory: Rows[Any]
    rows: tuple[tuple[str, Rows[Any]], ...]
    date: str


SMALL = Kind(
    law=SmallLaw,
    form_seconds=small_form_seconds,
    features=small_features,
    parameters={
        "t0": Parameter(start=5, low=0, high=60),
        "em": Parameter(start=0.5, low=0.05, high=1.2),
    },
    axes=(Axis(feature="bytes", knots=tuple(range(8, 28))),),
    scale="bytes",
    edges=(2.0**14, 2.0**20),
)

KINDS = {family.field: family.kind for family in FAMILIES} | {"small": lambda rows: SMALL}
"""Field of a profile -> how its rows are fitted where tables are."""

COLD: dict[str, object] = {"cache_mb": 1.0, "hot": 1.0}
"""No KV is measured from a cache."""

LIBRARY: dict[str, object] = {"library": "nccl"}
"""Gloo's collectives, as NCCL's, are those of a library, not of an engine."""

STATED: dict[tuple[str, DeviceKind], dict[str, object]] = {
    ("gemm", "cpu"): {"tile_rows": 1},
    ("experts", "cpu"): {"tile_rows": 0},
    ("decode", "cpu"): COLD,
    ("decode", "cuda"): COLD,
    ("collectives", "cpu"): LIBRARY,
    ("collectives", "cuda"): LIBRARY,
}
"""What is known of laws of one's own, and so not fitted: CPUs pad no rows."""

WIDER = 20.0
"""How much slower than a GPU in a captured graph eager torch on a CPU may be, in any constant."""


def own_kind(field: str, rows: Rows[Any], device: DeviceKind, link: Link | None = None) -> Kind[Any, Any]:
    """How the rows of a field are fitted: as those of tables, with fewer knots, within wider bounds.

    link: of collectives, where the catalog has none.
    """
    table = KINDS[field](rows)
    if field == "collectives" and link is not None:
        table = replace(table, form_seconds=partial(_over, link))
    stated = {**table.stated, **STATED.get((field, device), {})}
    return replace(
        table,
        axes=tuple(thinned(axis) for axis in table.axes),
        parameters={
            name: limit if name == "power" else wider(limit)
            for name, limit in table.parameters.items()
            if name not in stated
        },
        stated=stated,
    )


def _over(link: Link, operation: Communication, device: Device, law: CollectiveLaw) -> Size:
    return collective_form_seconds(law, link, operation.num_ranks, operation.payload_bytes)


def wider(limit: Parameter) -> Parameter:
    """The same start, within wider bounds."""
    return Parameter(start=limit.start, low=limit.low / WIDER, high=limit.high * WIDER)


def thinned(axis: Axis) -> Axis:
    """Every other knot, and both ends: some hundreds of rows tell no more."""
    return Axis(feature=axis.feature, knots=tuple(sorted({*axis.knots[::2], axis.knots[-1]})))


def own_profile(
    measured: Measured, say: Callable[[str], None] = lambda text: None
) -> tuple[Profile, tuple[Outcome, ...]]:
    """The profile of the machine, and how well each of its laws does on shapes that it never saw."""
    host = measured.host
    hardware, scale_up = (host.known, None) if host.known else own_sheet(measured)
    laws, outcomes = fit_laws(
        ((field, own_kind(field, rows, host.kind, scale_up), rows) for field, rows in measured.rows),
        hardware,
        say,
    )
    profile = Profile(
        device=hardware.name,
        source=own_source(measured),
        licence="the measurer's own",
        date=measured.date,
        tool=f"shardwright {__version__}",
        hardware=None if host.known else hardware,
        scale_up=scale_up,
        **laws,
    )
    return profile, outcomes


def own_source(measured: Measured) -> str:
    """Where the rows come from, in words."""
    host, num_rows = measured.host, sum(len(rows) for _, rows in measured.rows)
    threads = f", {host.num_sms} threads" if host.kind == "cpu" else ""
    return f"{num_rows:,} rows measured on {host.name}{threads}, torch {host.torch_version}"


def own_sheet(measured: Measured) -> tuple[Device, Link | None]:
    """What stands in for a data sheet: the best rates that were seen."""
    host, rows = measured.host, measured.rows
    peaks: dict[Dtype, float] = {
        OPERANDS[found.format]: best_rate(found.operation.flops, found)
        for field, found in rows
        if field == "gemm"
    }
    collectives = [found for field, found in rows if field == "collectives"]
    link = own_link(collectives, measured.date) if collectives else None
    num_ranks = max((int(np.max(found.operation.num_ranks)) for found in collectives), default=1)
    device = Device(
        name=host.device_name,
        vendor=host.vendor,
        memory_bytes=host.memory_bytes,
        memory_bandwidth_bytes_per_s=best_rate(measured.memory.operation.bytes, measured.memory),
        peak_flops=peaks,
        num_sms=host.num_sms,
        scale_up_link=link.name if link else UNMEASURED_LINK,
        scale_up_gpus=num_ranks,
        node_gpus=num_ranks,
        source=f"{SEEN}; links {'too' if link else 'not measured'}",
        date=measured.date,
    )
    return device, link


def own_link(collectives: Sequence[Rows[Any]], date: str) -> Link:
    """The link between the processes that took part in collectives."""
    rate = max(best_rate(_passed(rows.operation), rows) for rows in collectives)
    latency_s = min(float(rows.seconds.min()) for rows in collectives)
    return Link(
        name=LOOPBACK,
        kind="scale-up",
        bandwidth_bytes_per_s=max(rate, LEAST_RATE),
        latency_s=min(float(f"{latency_s:.3g}"), MOST_LATENCY_S),
        source=f"{SEEN}; latency: the shortest collective",
        date=date,
    )


def _passed(operation: Communication) -> Size:
    """Bytes that one rank sends."""
    return passed_bytes(collective_of(operation), operation.num_ranks, operation.payload_bytes)


def best_rate(work: Size, rows: Rows[Any]) -> float:
    """The most work a second."""
    return float(f"{np.max(work / rows.seconds):.4g}")
