"""What the laws of all operations share: what they were fitted on, how far off they are, how to choose one.

A law is a form, of few constants that mean something, times a residual table (residual.py). Times in its
constants are microseconds; efficiencies are shares of a device's data-sheet rates, so that a law can be
carried to a device that nobody measured.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from shardwright.cluster.device import Device
from shardwright.cost.residual import Residual
from shardwright.engine.engine import Kernels
from shardwright.model.dtype import Dtype
from shardwright.record import Record, Size

US = 1e-6

Format = Literal["fp32", "bf16", "fp8", "fp8_block", "int8_wo", "int4_wo", "mxfp4_wo", "mxfp4", "nvfp4"]
"""How a kernel multiplies. wo: narrow weights only, widened; fp8_block: a scale each 128 values."""

OPERANDS: dict[Format, Dtype] = {
    "fp32": "fp32",
    "bf16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "int8_wo": "bf16",
    "int4_wo": "bf16",
    "mxfp4_wo": "bf16",
    "mxfp4": "fp4",
    "nvfp4": "fp4",
}
"""The operands whose peak bounds a format."""

SERVED_BY: dict[tuple[Dtype, bool], tuple[Format, ...]] = {
    ("fp32", False): ("fp32",),
    ("fp8", True): ("fp8_block", "fp8"),
    ("fp8", False): ("fp8", "fp8_block"),
    ("int8", False): ("int8_wo",),
    ("int4", False): ("int4_wo",),
    ("mxfp4", False): ("mxfp4", "mxfp4_wo"),
    ("fp4", False): ("nvfp4",),
}
"""(how weights are stored, in blocks or not) -> the formats that run them, the first one preferred."""


class Band(Record):
    """Rows whose `scale` is at most `upto` (None: all beyond the last one): how well the law predicts them.

    median, p90: |predicted / measured - 1| of rows of shapes that no fit saw. low, high: 5 % and 95 %
    quantiles of measured / predicted.
    """

    upto: float | None
    rows: int
    median: float
    p90: float
    low: float
    high: float


class Law(Record):
    """What a law was fitted on, and how well it did.

    scale: the feature that tells the bands apart. excluded: rows that were left out, by reason.
    """

    FEATURES: ClassVar[tuple[str, ...]] = ()
    """What the tables and the bands of such laws may go by."""

    kernels: Kernels
    version: str
    kernel: str
    format: Format
    rows: int
    excluded: dict[str, int] = Field(default_factory=dict)
    scale: str
    bands: tuple[Band, ...]
    residual: Residual | None = None

    @model_validator(mode="after")
    def _known_features(self) -> "Law":
        axes = self.residual.axes if self.residual is not None else ()
        used = {self.scale, *(axis.feature for axis in axes)}
        if unknown := sorted(used - set(self.FEATURES)):
            raise ValueError(
                f"a law like this goes by {', '.join(self.FEATURES)}, not by {', '.join(unknown)}"
            )
        if not self.bands or self.bands[-1].upto is not None:
            raise ValueError("the last band has no end (upto: null)")
        return self

    def corrected(self, form_s: Size, features: Mapping[str, Size]) -> Size:
        """The seconds of the form with what the table knows better."""
        return form_s if self.residual is None else form_s * self.residual.factor(features)

    def band(self, features: Mapping[str, Size]) -> Band:
        """The band of one operation."""
        scale = float(np.max(np.asarray(features[self.scale])))
        return next(band for band in self.bands if band.upto is None or scale <= band.upto)


L = TypeVar("L", bound=Law)


def choose(laws: Iterable[L], kernels: Kernels, formats: tuple[Format, ...]) -> L:
    """The law of the engine's own kernels in the first format there is, else another engine's.

    Formats that nobody measured are taken for bf16, else for fp32.
    """
    rows = tuple(laws)
    for wanted in (*formats, "bf16", "fp32"):
        found = [law for law in rows if law.format == wanted]
        if found:
            return next((law for law in found if law.kernels == kernels), found[0])
    raise LookupError(f"no law for {formats}")


def formats_of(dtype: Dtype, in_blocks: bool) -> tuple[Format, ...]:
    """The formats that run weights stored as `dtype`, `in_blocks` that share a scale or not."""
    return SERVED_BY.get((dtype, in_blocks), SERVED_BY.get((dtype, False), ()))


def peak_flops(device: Device, operands: Dtype) -> float:
    """Dense peak of the operands; those that the device cannot multiply are widened to 16 bits first."""
    peaks = device.peak_flops
    widened = peaks.get("bf16") or peaks.get("fp16") or max(peaks.values())
    return peaks.get(operands, widened)


def pnorm(power: float, *terms: Size) -> Size:
    """(a^p + b^p + ...)^(1/p): the larger term, rounded off where they meet."""
    largest: Size = np.maximum(reduce(np.maximum, terms), 1e-30)
    spread: Size = sum((term / largest) ** power for term in terms)
    return largest * spread ** (1 / power)


def padded(rows: Size, tile: int) -> Size:
    """Rows in whole tiles."""
    return np.ceil(np.asarray(rows) / tile) * tile
