"""A measured row as what a simulator needs to predict it, or the reason why none can."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shardwright.calibrate.measured.harness import harness_of, setting_of
from shardwright.calibrate.measured.place import cluster_of, device_of
from shardwright.calibrate.measured.refusal import Refusal, RefusedError
from shardwright.calibrate.measured.row import Row
from shardwright.calibrate.measured.split import layout_of
from shardwright.calibrate.measured.storage import published_model, stored_model
from shardwright.cluster.cluster import Cluster
from shardwright.cost.profile import Profile
from shardwright.engine.catalog import find_engine
from shardwright.engine.engine import Engine
from shardwright.engine.tuning import tuned
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec

Kind = Literal["closed", "open", "static", "offline"]
"""How requests come: so many in flight, so many a second, one batch that nobody joins, or all at once."""

SOFTWARE: Mapping[str, str] = {
    "trt": "trtllm",
    "tensorrt-llm": "trtllm",
    "tensorrtllm": "trtllm",
    "tensorrt_llm": "trtllm",
    "deepspeed_mii": "deepspeed-mii",
}
"""What sources call an engine -> its name here."""

ENGINES: Mapping[str, str] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "trtllm",
    "atom": "vllm",
    "deepspeed-mii": "vllm",
}
"""Software -> the engine whose rules and kernels stand for it. ATOM takes vLLM's flags, TP and
--enable-expert-parallel among them (InferenceX, benchmarks/dsr1_fp4_mi355x_atom.sh); DeepSpeed-MII has
kernels of its own that nobody measured apart."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """model: as it was stored, under the row's name. engine: under the harness's settings; software,
    engine_version, date: what really ran. input_tokens, output_tokens: (least, most) of an even draw.

    kind: how requests came; concurrency: in flight, or in the batch; num_requests: of the whole run, None
    where nothing says. poll_steps, gather_steps: of serving/policy.py. by_median: the row's times are
    medians. profile: of the device, where it is one's own; None: what is shipped for it.
    """

    row: Row
    model: ModelSpec
    cluster: Cluster
    engine: Engine
    software: str
    engine_version: str
    date: str
    layout: Layout
    input_tokens: tuple[int, int]
    output_tokens: tuple[int, int]
    kind: Kind
    concurrency: int | None = None
    request_rate_per_s: float | None = None
    num_requests: int | None = None
    poll_steps: int = 1
    gather_steps: int = 0
    by_median: bool = False
    profile: Profile | None = None

    @property
    def mean_input_tokens(self) -> float:
        return sum(self.input_tokens) / 2

    @property
    def mean_output_tokens(self) -> float:
        return sum(self.output_tokens) / 2


def case_of(row: Row, own: Profile | None = None) -> Case | Refusal:
    """The row as a case; a Refusal with the rule that it met where there is none.

    own: what a GPU was measured to do, for the rows of that GPU.
    """
    try:
        return _case(row, own)
    except RefusedError as refused:
        return Refusal(row, refused.rule, refused.sentence)
    except InputError as error:
        return Refusal(row, error.field, f"{error}.")


def _case(row: Row, own: Profile | None) -> Case:
    if row.mode == "disagg":
        raise RefusedError("disagg", "Prefill and decode pools follow later.")
    software = SOFTWARE.get(row.engine.lower(), row.engine.lower())
    if software not in ENGINES:
        raise RefusedError("engine", f"The engine {row.engine!r} is not known: {', '.join(ENGINES)} are.")
    device, dies = device_of(row, own)
    harness = harness_of(row)
    setting = setting_of(harness, row, software, published_model(row).family)
    model = stored_model(row, software=software, vendor=device.vendor, kv_dtype=setting.kv_dtype)
    kind = _kind(row)
    return Case(
        row=row,
        model=model,
        cluster=cluster_of(row, own),
        profile=own if own is not None and own.device == device.name else None,
        engine=tuned(find_engine(ENGINES[software]), setting.tuning_of(row)),
        software=software,
        engine_version=row.engine_version.removeprefix("v"),
        date=row.date,
        layout=layout_of(row, model, software=software, dies=dies),
        input_tokens=harness.lengths(row.isl),
        output_tokens=harness.lengths(row.osl),
        kind=kind,
        concurrency=row.concurrency_or_batch if kind in ("closed", "static") else None,
        request_rate_per_s=row.request_rate if kind == "open" else None,
        num_requests=row.concurrency_or_batch if kind == "static" else harness.requests_of(row),
        poll_steps=setting.polls(row.concurrency_or_batch),
        gather_steps=setting.gather_steps,
        by_median=harness.by_median(row),
    )


def _kind(row: Row) -> Kind:
    if row.mode == "offline_max_throughput":
        return "offline"
    if row.mode == "offline_static_batch":
        if row.concurrency_or_batch is None:
            raise RefusedError("load", "A static batch needs its size in concurrency_or_batch.")
        return "static"
    if row.request_rate is not None and row.concurrency_or_batch is None:
        return "open"
    if row.concurrency_or_batch is not None:
        return "closed"
    if row.at_once:
        return "offline"
    raise RefusedError("load", "Neither requests in flight nor requests a second are stated.")
