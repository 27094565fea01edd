"""Seconds of one operation, and how far from them the measured ones lie, by the law that serves it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shardwright.cost.attention import attention_law, attention_seconds
from shardwright.cost.collectives import collective_features
from shardwright.cost.constants import constants
from shardwright.cost.decode import DecodeLaw, decode_features
from shardwright.cost.exchange import ExchangeLaw, exchange_features
from shardwright.cost.experts import ExpertsLaw, experts_features, experts_seconds
from shardwright.cost.gemm import GemmLaw, gemm_features, gemm_seconds
from shardwright.cost.law import Law, choose, formats_of
from shardwright.cost.prefill import prefill_features
from shardwright.cost.small import SmallLaw, small_features, small_seconds
from shardwright.cost.wires import (
    Wires,
    all_reduce_seconds,
    exchange_seconds,
    gather_seconds,
    law_inside,
    leaving_rows,
    transfer_seconds,
)
from shardwright.record import Size
from shardwright.steps.operation import (
    AllReduce,
    Attention,
    Communication,
    Exchange,
    Family,
    Gather,
    Gemm,
    GroupedExperts,
    Operation,
    Small,
    Transfer,
)


def operation_seconds(operation: Operation, wires: Wires) -> Size:
    """Seconds of one time of one operation."""
    device = wires.cluster.device
    match operation:
        case Gemm():
            return gemm_seconds(operation, device, _gemm_law(operation, wires))
        case Attention():
            return attention_seconds(operation, device, wires.profile, wires.kernels)
        case GroupedExperts():
            return experts_seconds(operation, device, _experts_law(operation, wires))
        case Small():
            return small_seconds(operation, device, _small_law(wires))
        case AllReduce():
            return all_reduce_seconds(operation, wires)
        case Gather():
            return gather_seconds(operation, wires)
        case Exchange():
            return exchange_seconds(operation, wires)
        case Transfer():
            return transfer_seconds(operation, wires)
    raise AssertionError(f"no cost for {operation.name}")


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where measured seconds lie as shares of the predicted ones: low <= 1 <= high, nine times of ten."""

    low: float
    high: float


def operation_range(operation: Operation, wires: Wires) -> Range:
    """By the errors of its law on shapes that no fit saw; stated for what nobody measured."""
    found: tuple[Law, dict[str, Size]] | None = None
    match operation:
        case Gemm():
            found = _gemm_law(operation, wires), gemm_features(operation)
        case GroupedExperts():
            found = _experts_law(operation, wires), experts_features(operation)
        case Attention():
            law = attention_law(operation, wires.profile, wires.kernels)
            decodes = isinstance(law, DecodeLaw)
            found = law, decode_features(operation) if decodes else prefill_features(operation)
        case Small() if (small := _small_law(wires)) is not None:
            found = small, small_features(operation)
        case Exchange() if operation.spread is not None:
            rows = leaving_rows(operation, wires)
            own = wires.exchange_law(operation)
            found = (own, exchange_features(rows)) if isinstance(own, ExchangeLaw) else None
        case Communication():
            features = collective_features(operation.num_ranks, operation.payload_bytes)
            found = law_inside(operation, wires), features
    if found is None:
        wide = constants().intervals.unmeasured
        return Range(low=1 / wide, high=wide)
    band = found[0].band(found[1])
    return Range(low=band.low, high=band.high)


def program_range(operations: Iterable[Operation], wires: Wires) -> Range:
    """Of the sum of a program's operations, one layout's.

    Within a family errors are of one kind, and add; families are independent, and add as squares.
    """
    total = 0.0
    below: dict[Family, float] = {}
    above: dict[Family, float] = {}
    for operation in operations:
        seconds = float(np.asarray(operation.times * operation_seconds(operation, wires)))
        if seconds > 0:
            reach = operation_range(operation, wires)
            total += seconds
            below[operation.family] = below.get(operation.family, 0.0) + seconds * (1 - reach.low)
            above[operation.family] = above.get(operation.family, 0.0) + seconds * (reach.high - 1)
    if not total:
        return Range(low=1.0, high=1.0)
    down, up = (float(np.sqrt(sum(part**2 for part in side.values()))) for side in (below, above))
    return Range(low=1 - down / total, high=1 + up / total)


def _gemm_law(operation: Gemm, wires: Wires) -> GemmLaw:
    laws = wires.profile.gemm if operation.batch is None else wires.profile.batched_gemm
    return choose(laws, wires.kernels, formats_of(operation.weight_dtype, operation.in_blocks))


def _experts_law(operation: GroupedExperts, wires: Wires) -> ExpertsLaw:
    formats = formats_of(operation.weight_dtype, operation.in_blocks)
    return choose(wires.profile.experts, wires.kernels, formats)


def _small_law(wires: Wires) -> SmallLaw | None:
    laws = wires.profile.small
    return choose(laws, wires.kernels, ()) if laws else None
