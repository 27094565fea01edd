"""Measured rows in a CSV file of one's own, with the columns that `validate` and `calibrate --from` read.

A row is added whole or not at all: the file is written anew beside itself, then put in its place.
"""

import csv
import fcntl
import hashlib
import io
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from shardwright import __version__
from shardwright.engine.engine import Engine
from shardwright.errors import InputError
from shardwright.launch.bench import Measured, middle, spread_of
from shardwright.layout.notation import parse_layout
from shardwright.model.weights import num_parameters
from shardwright.plan.file import write_text
from shardwright.plan.plan import Plan
from shardwright.serving.simulation import Load

COLUMNS = (
    *("source", "source_path", "model", "total_params_b", "gpu", "gpus", "nodes", "tp", "ep", "pp", "dp"),
    *("dp_attention", "engine", "engine_version", "precision_weights", "precision_kv", "isl", "osl"),
    *("concurrency_or_batch", "request_rate", "output_tok_s_total", "output_tok_s_per_gpu"),
    *("total_tok_s_per_gpu", "ttft_ms_mean", "ttft_ms_p99", "tpot_ms_mean", "tpot_ms_p99", "e2e_ms", "notes"),
    *("ttft_ms_median", "tpot_ms_median", "mode", "spec_decode", "is_moe", "date", "licence", "quality"),
    *("row_id", "arch_family"),
)
"""Those of the published rows, in their order; a blank cell is 'not stated'."""

SOURCE = f"own: shardwright bench {__version__}"

Cells = dict[str, str]

SETTINGS = ("VLLM_", "OMP_", "NCCL_", "TORCH", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""How variables begin that change what an engine does."""

SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
"""Parts of the names of variables that are nobody's to keep."""


def measured_row(
    plan: Plan,
    engine: Engine,
    load: Load,
    found: Measured,
    *,
    date: str,
    engine_version: str,
    commands: Sequence[Sequence[str]],
    device: str,
) -> Cells:
    """The cells of a run. date: ISO, with the time. engine_version: as the server says. commands: of the
    server, where it was started here, and of the client. device: that the server ran on.

    Both throughputs are never given: that of a GPU is the total over the GPUs.
    """
    deployment, layout = plan.deployment, parse_layout(plan.pools[0].layout)
    model = deployment.model
    notes = {
        "layout": plan.pools[0].layout,
        "requests": str(found.completed),
        "burstiness": f"{load.burstiness:g}" if load.kind == "open" else "",
        "seed": str(load.seed),
        "spread": f"{spread_of(load.input_tokens):.4g} {spread_of(load.output_tokens):.4g}",
        "duration_s": f"{found.duration_s:.3f}",
        "mean_input_tokens": f"{found.input_tokens / found.completed:.1f}",
        "mean_output_tokens": f"{found.output_tokens / found.completed:.1f}",
        "ttft_ms_p90": _ms(found.ttft_s.p90),
        "tpot_ms_p90": _ms(found.tpot_s.p90),
        "itl_ms_mean": _ms(found.itl_s.mean),
        "device": device,
    }
    cells = {
        "source": SOURCE,
        "source_path": " && ".join(shlex.join(words) for words in commands if words),
        "model": model.name,
        "total_params_b": f"{num_parameters(model) / 1e9:.6g}",
        "gpu": deployment.cluster.device.name,
        "gpus": str(layout.num_gpus),
        "nodes": str(-(-layout.num_gpus // deployment.cluster.gpus_per_node)),
        "tp": str(layout.tp),
        "ep": str(layout.ep),
        "pp": str(layout.pp),
        "dp": str(layout.dp),
        "engine": engine.name,
        "engine_version": engine_version,
        "precision_weights": model.weight_dtype,
        "precision_kv": model.kv_dtype,
        "isl": str(middle(load.input_tokens)),
        "osl": str(middle(load.output_tokens)),
        "concurrency_or_batch": str(load.concurrency) if load.kind == "closed" else "",
        "request_rate": f"{load.rate_per_s:g}" if load.kind == "open" else "",
        "output_tok_s_total": f"{found.output_tokens_per_s:.6g}",
        "ttft_ms_mean": _ms(found.ttft_s.mean),
        "ttft_ms_p99": _ms(found.ttft_s.p99),
        "ttft_ms_median": _ms(found.ttft_s.median),
        "tpot_ms_mean": _ms(found.tpot_s.mean),
        "tpot_ms_p99": _ms(found.tpot_s.p99),
        "tpot_ms_median": _ms(found.tpot_s.median),
        "e2e_ms": _ms(found.e2e_s.mean),
        "notes": "; ".join(f"{name}={_plain(text)}" for name, text in notes.items() if text),
        "mode": "agg",
        "spec_decode": "none",
        "is_moe": str(int(model.experts is not None)),
        "date": date,
        "quality": "A",
        "arch_family": model.family,
    }
    digest = hashlib.sha256("\n".join(cells.values()).encode()).hexdigest()[:12]
    return {**dict.fromkeys(COLUMNS, ""), **cells, "row_id": f"own-{digest}"}


def settings_of(environment: Mapping[str, str]) -> list[str]:
    """NAME=value of what the environment sets of an engine; no secrets."""
    return [
        f"{name}={value}"
        for name, value in sorted(environment.items())
        if name.startswith(SETTINGS) and not any(word in name for word in SECRET)
    ]


def check_rows(file: Path) -> None:
    """Raises InputError for a file that is there and that no row can be added to."""
    _before(file)


def append_row(file: Path, cells: Cells) -> Path:
    """Add a row at the end of the file, which is made where there is none.

    Two that add at once wait for each other. Raises InputError for a file with other columns, or a place that
    cannot be written; the file is then as it was.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise InputError("--rows", str(file), f"a place that can be written ({error.strerror})") from None
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        return write_text(file, _before(file) + _line([cells[name] for name in COLUMNS]))
    finally:
        os.close(folder)


def _before(file: Path) -> str:
    """What the file holds, to its last line end; the header of a new one."""
    if not file.exists():
        return _line(COLUMNS)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--rows", str(file), f"a CSV file that can be read ({error})") from None
    header = next(csv.reader(io.StringIO(text)), [])
    if tuple(header) != COLUMNS:
        raise InputError("--rows", str(file), "a new file, or one whose columns are those that bench writes")
    return text if text.endswith("\n") else text + "\n"


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.6g}"


def _plain(text: str) -> str:
    """Without what separates the notes and the lines."""
    return " ".join(text.replace(";", " ").replace(",", " ").split())
