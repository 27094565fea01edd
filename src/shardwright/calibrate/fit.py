"""From measured rows to a law: least squares for the form, penalised least squares for its table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.rows import Op, Rows
from shardwright.cluster.device import Device
from shardwright.cost.law import Law
from shardwright.cost.residual import UNIT, Axis, Residual
from shardwright.record import Size

L = TypeVar("L", bound=Law)

BEND, SLOPE, SIZE = 0.5, 0.05, 0.01
"""What second differences, first differences and values of a table cost, beside errors of rows: knots with
few rows follow their neighbours, knots without any go back to the form."""

OUTLIER = 0.05
"""Errors of ln beyond this count by their size, not by their square (Huber)."""

REWEIGHTINGS = 4
MOST_ROWS_OF_A_FORM = 6000
"""A handful of constants is well determined by so many rows."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One constant of a form: where the search starts, and what is possible."""

    start: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[L, Op]):
    """How the laws of one kind of operation are fitted.

    form_seconds: without the table. stated: what is known of these laws and not fitted. axes: of the table.
    edges: where one band of `scale` ends and the next begins.
    """

    law: type[L]
    form_seconds: Callable[[Op, Device, L], Size]
    features: Callable[[Op], Mapping[str, Size]]
    parameters: Mapping[str, Parameter]
    axes: tuple[Axis, ...]
    scale: str
    edges: tuple[float, ...]
    stated: Mapping[str, object] = field(default_factory=dict)

    def seconds(self, operation: Op, device: Device, law: L) -> Size:
        """The law's seconds."""
        return law.corrected(self.form_seconds(operation, device, law), self.features(operation))


def fit(kind: Kind[L, Op], rows: Rows[Op], device: Device, *, table: bool = True) -> L:
    """The law of the rows, without bands. table: with a residual table, or the form alone."""
    form = fit_form(kind, rows, device)
    if not table:
        return form
    missed = np.log(rows.seconds / kind.form_seconds(rows.operation, device, form))
    return form.model_copy(update={"residual": fit_table(kind, rows.operation, missed)})


def fit_form(kind: Kind[L, Op], rows: Rows[Op], device: Device) -> L:
    """Robust least squares of ln(predicted / measured)."""
    from scipy.optimize import least_squares

    names = list(kind.parameters)
    few = np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS_OF_A_FORM]
    sample = rows.where(np.sort(few))

    def law_of(values: NDArray[np.float64]) -> L:
        return empty_law(kind, rows, dict(zip(names, map(float, values), strict=True)))

    def errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(kind.form_seconds(sample.operation, device, law_of(values)) / sample.seconds)

    limits = [kind.parameters[name] for name in names]
    found = least_squares(
        errors,
        [limit.start for limit in limits],
        bounds=([limit.low for limit in limits], [limit.high for limit in limits]),
        x_scale=[max(abs(limit.start), 1e-3) for limit in limits],
        loss="soft_l1",
        f_scale=0.1,
    )
    return law_of(np.array([float(f"{value:.4g}") for value in found.x]))


def empty_law(kind: Kind[L, Op], rows: Rows[Op], constants: Mapping[str, float]) -> L:
    """The law of the rows with these constants, not yet scored."""
    return kind.law.model_construct(
        kernels=rows.kernels,
        version=rows.version,
        kernel=rows.kernel,
        format=rows.format,
        rows=len(rows),
        excluded=rows.excluded,
        scale=kind.scale,
        bands=(),
        residual=None,
        **kind.stated,
        **constants,
    )


def fit_table(kind: Kind[L, Op], operation: Op, missed: NDArray[np.float64]) -> Residual:
    """The smoothed table of `missed`: ln(measured / form) of each row."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    features = kind.features(operation)
    columns = [np.broadcast_to(np.asarray(features[a.feature], float), missed.shape) for a in kind.axes]
    places, weights = corners(columns, kind.axes)
    sizes = [len(axis.knots) for axis in kind.axes]
    rows = np.tile(np.arange(len(missed)), len(places))
    hats = sparse.csr_matrix(
        (weights.ravel(), (rows, places.ravel())), shape=(len(missed), int(np.prod(sizes)))
    )
    rough = _roughness(sizes)
    trust = np.ones(len(missed))
    values = np.zeros(hats.shape[1])
    for _ in range(REWEIGHTINGS):
        weighted = hats.T @ sparse.diags_array(trust)
        values = spsolve((weighted @ hats + rough).tocsc(), weighted @ missed)
        trust = 1 / np.maximum(np.abs(missed - hats @ values) / OUTLIER, 1)
    return Residual(axes=kind.axes, values=tuple(int(value) for value in np.rint(values / UNIT)))


def corners(
    features: list[NDArray[np.float64]], axes: Sequence[Axis]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The knots around each row, as places in the flat table, and how much each counts: (corners, rows)."""
    places, weights = np.zeros((1, 1), dtype=np.intp), np.ones((1, 1))
    for feature, axis in zip(features, axes, strict=True):
        left, right, share = axis.between(feature)
        size = len(axis.knots)
        places = np.concatenate((places * size + left, places * size + right))
        weights = np.concatenate((weights * (1 - share), weights * share))
    return places, weights


def _roughness(sizes: list[int]):
    """The quadratic form of the penalties over a grid of these sizes."""
    from scipy import sparse

    total = SIZE**2 * sparse.eye_array(int(np.prod(sizes)))
    for dim, size in enumerate(sizes):
        slopes = sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(size - 1, size))
        bends = sparse.diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(size - 2, size))
        for weight, along in ((SLOPE, slopes), (BEND, bends)):
            factors = [sparse.eye_array(other) for other in sizes]
            factors[dim] = along
            whole = factors[0]
            for factor in factors[1:]:
                whole = sparse.kron(whole, factor)
            total = total + weight**2 * (whole.T @ whole)
    return total
