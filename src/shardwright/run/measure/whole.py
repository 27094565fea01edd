"""Everything that a profile needs of this machine, measured in a stated time."""

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from shardwright.calibrate.own import DeviceKind, Measured
from shardwright.calibrate.rows import Rows, shape_numbers, stacked
from shardwright.cost.law import Format
from shardwright.errors import InputError
from shardwright.model.dtype import Dtype
from shardwright.run.machine import free_bytes, open_device
from shardwright.run.measure.arena import Arena
from shardwright.run.measure.attention import decode_cases, prefill_cases
from shardwright.run.measure.bench import Bench, Case, Timing, timed
from shardwright.run.measure.collectives import measure_collectives
from shardwright.run.measure.experts import experts_cases, experts_kernel
from shardwright.run.measure.gemm import gemm_cases
from shardwright.run.measure.host import this_host
from shardwright.run.measure.small import memory_cases, small_cases
from shardwright.run.worker import BACKENDS
from shardwright.units import GIB

ARENA_BYTES: dict[DeviceKind, int] = {"cpu": 1 * GIB, "cuda": 8 * GIB}
"""Many times the largest cache of any CPU or GPU; less where a quarter of the free memory is less."""

FORMATS: dict[Dtype, Format] = {"bf16": "bf16", "fp32": "fp32"}

Told = Callable[[str, float], None]
"""(what is measured now, share of its time that is spent)."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One field of a profile. kernel: that runs on a device. share: of the time, in parts of all shares."""

    field: str
    kernel: Callable[[torch.device], str]
    cases: Callable[[Dtype], Iterator[Case]]
    share: float


SDPA = "scaled_dot_product_attention"

PARTS = (
    Part(field="gemm", kernel=lambda place: "linear", cases=gemm_cases, share=4),
    Part(field="prefill", kernel=lambda place: SDPA, cases=prefill_cases, share=2),
    Part(field="decode", kernel=lambda place: SDPA, cases=decode_cases, share=2),
    Part(field="experts", kernel=experts_kernel, cases=experts_cases, share=3),
    Part(field="small", kernel=lambda place: "norm + rotation + activation", cases=small_cases, share=1),
)

USUAL_PROCESSES, MOST_PROCESSES = 4, 32
"""Of the collectives of a CPU: beyond, they measure how processes share its cores."""

MEMORY_SHARE, COLLECTIVES_SHARE = 0.5, 1.5


def measure_machine(
    device: str,
    *,
    dtypes: Sequence[Dtype] = ("bf16",),
    minutes: float = 4.0,
    num_processes: int | None = None,
    told: Told = lambda what, share: None,
) -> Measured:
    """Measure 'cpu' or 'cuda'. num_processes: of the collectives; None: one a GPU, or a thread up to 4.

    Raises EnvironmentLacksError without the device, InputError for more processes than GPUs, RankError where
    a process of the collectives is lost.
    """
    place = open_device(device)
    num_processes = _processes(place, num_processes)
    work = [(part, dtype) for dtype in dtypes for part in PARTS]
    shares = sum(part.share for part, _ in work) + MEMORY_SHARE + COLLECTIVES_SHARE * (num_processes > 1)
    share_s = 60 * minutes / shares
    host = this_host(place)
    arena = Arena(place, int(min(ARENA_BYTES[host.kind], free_bytes(place) / 4)))

    def rows_of(what: str, cases: Iterator[Case], share: float, kernel: str, dtype: Dtype) -> Rows[Any]:
        bench = Bench(device=place, arena=arena, told=lambda spent: told(what, spent))
        return as_rows(timed(bench, list(cases), share * share_s), kernel, dtype)

    memory = rows_of("memory", memory_cases(), MEMORY_SHARE, "copy + read", "fp32")
    rows = []
    for part, dtype in work:
        what = f"{part.field} in {dtype}"
        found = rows_of(what, part.cases(dtype), part.share, part.kernel(place), dtype)
        rows.append((part.field, found))
    if num_processes > 1:
        timings = measure_collectives(
            device,
            dtypes[0],
            num_processes,
            COLLECTIVES_SHARE * share_s,
            lambda spent: told("collectives", spent),
        )
        for kind, of_kind in timings.items():
            rows.append(("collectives", as_rows(of_kind, f"{BACKENDS[device]} {kind}", dtypes[0])))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Measured(host=host, memory=memory, rows=tuple(rows), date=today)


def as_rows(timings: Sequence[Timing], kernel: str, dtype: Dtype) -> Rows[Any]:
    """The rows of one kernel."""
    shapes = np.array([timing.shape for timing in timings], dtype=float)
    return Rows(
        kernels="torch",
        version=torch.__version__,
        kernel=kernel,
        format=FORMATS[dtype],
        operation=stacked([timing.operation for timing in timings]),
        seconds=np.array([timing.seconds for timing in timings]),
        shapes=shape_numbers(*shapes.T),
    )


def _processes(place: torch.device, wanted: int | None) -> int:
    if place.type == "cuda":
        found = torch.cuda.device_count()
        if wanted is not None and wanted > found:
            raise InputError("--processes", wanted, f"at most {found}, one a GPU")
        return wanted or found
    if wanted is not None and wanted > MOST_PROCESSES:
        raise InputError("--processes", wanted, f"at most {MOST_PROCESSES}")
    return wanted or min(torch.get_num_threads(), USUAL_PROCESSES)
