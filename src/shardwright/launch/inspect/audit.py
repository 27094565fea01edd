"""A running server held against a plan, row by row."""

from collections.abc import Callable, Iterator

from shardwright.engine.catalog import find_engine
from shardwright.launch.inspect.inspection import (
    Distribution,
    Held,
    Inspection,
    PlanAudit,
    SaidLayout,
    Verdict,
)
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.model.dtype import Dtype
from shardwright.plan.deployment import ANY_ENGINE
from shardwright.plan.plan import MemoryRow, Plan, Pool
from shardwright.units import Estimate, format_bytes, format_rate, format_seconds, format_share

Form = Callable[[float], str]

NOTHING = "-"

STORED_AS: dict[str, Dtype] = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "fp32",
    "float": "fp32",
    "bf16": "bf16",
    "fp16": "fp16",
    "fp8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "fp8_inc": "fp8",
    "nvfp4": "fp4",
}
"""As engines call a dtype -> as we do; auto is the model's own."""

SAME_LOAD = 2.0
"""A load within this factor of the plan's is taken for it: figures outside are of another load."""

SAME_WEIGHTS = 1.1
"""Of measured bytes to counted ones: allocators round up, and a server loads more than weights."""


def with_plan(found: Inspection, plan: Plan) -> Inspection:
    """The inspection with its rows against the plan's first pool, one copy of its layout."""
    (pool, *_), deployment = plan.pools, plan.deployment
    audit = PlanAudit(
        name=deployment.name,
        layout=pool.layout,
        engine_version=plan.engine_version,
        rows=tuple(_rows(found, plan, pool)),
    )
    return found.model_copy(update={"audit": audit})


def _rows(found: Inspection, plan: Plan, pool: Pool) -> Iterator[Held]:
    yield from _engine(found, plan)
    yield _model(found, plan)
    dense = plan.deployment.model.experts is None
    yield from _degrees(found.said.layout, parse_layout(pool.layout), dense=dense)
    yield from _stored(found, plan)
    yield from _limits(found, plan)
    yield from _memory(found, plan, pool)
    yield from _figures(found, plan, pool)
    yield from _targets(found, plan)


def _engine(found: Inspection, plan: Plan) -> Iterator[Held]:
    name, _, version = plan.engine_version.partition(" ")
    if plan.deployment.engine == ANY_ENGINE:
        yield Held(what="engine", planned="any", found=found.title, verdict="agrees")
        return
    yield _held("engine", find_engine(name).title, found.title)
    if find_engine(name).name == found.engine:
        # A build for a platform calls itself 0.33.0+cu129; a plan for 1.2 is one for 1.2.0.
        plain = (found.said.version or "").removeprefix("v").partition("+")[0]
        yield _held("version", version, found.said.version, same=f"{plain}.".startswith(f"{version}."))


def _model(found: Inspection, plan: Plan) -> Held:
    """By name; a server that answers to another one may still load it from a folder of that name."""
    planned, said = plan.deployment.model.name, found.said.models
    last = {_last(name) for name in said}
    same = _last(planned) in last
    return _held("model", planned, ", ".join(said) or None, same=same)


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _degrees(said: SaidLayout, layout: Layout, *, dense: bool) -> Iterator[Held]:
    dp, copies = layout.dp, layout.copies
    if dense and said.dp is not None and said.dp > 1:
        # Copies of a dense model step apart: as DP ranks of one server they are the plan's copies.
        dp, copies = layout.copies, 1
    yield _held("TP", layout.tp, said.tp)
    yield _held("DP", dp, said.dp)
    yield _held("PP", layout.pp, said.pp)
    if not dense:
        yield _held("EP", layout.ep, said.ep)
    yield _held("GPUs a stage", layout.tp * dp, said.stage_gpus)
    if said.copies is not None:
        # Each copy may have a server of its own.
        yield _held("copies", copies, said.copies, same=said.copies in (1, copies))


def _stored(found: Inspection, plan: Plan) -> Iterator[Held]:
    model, said = plan.deployment.model, found.said
    if said.dtype is not None and not model.quantised and said.quantisation is None:
        own = STORED_AS.get(said.dtype)
        yield _held("weights in", model.weight_dtype, said.dtype, same=own in (None, model.weight_dtype))
    elif said.quantisation is not None:
        yield Held(what="weights in", planned=model.stored_in, found=said.quantisation, verdict="not said")
    kept = said.cache.dtype
    # auto: as the activations, which no plan has in less than 16 bits.
    same = model.kv_bytes >= 2 if kept == "auto" else STORED_AS.get(kept or "", kept) == model.kv_dtype
    yield _held("KV cache in", model.kv_dtype, kept, same=same)


def _limits(found: Inspection, plan: Plan) -> Iterator[Held]:
    said, deployment, tuning = found.said, plan.deployment, plan.deployment.tuning
    yield _held("longest sequence", deployment.workload.max_model_len, said.max_model_len)
    for what, planned, own in (
        ("sequences in a step", tuning.max_sequences, said.max_sequences),
        ("tokens in a step", tuning.max_batched_tokens, said.max_batched_tokens),
        ("share of memory", tuning.utilisation, said.memory_share),
    ):
        if planned is not None:
            yield _held(what, planned, own)


def _memory(found: Inspection, plan: Plan, pool: Pool) -> Iterator[Held]:
    keeping = [row for row in pool.memory if row.kv_capacity_tokens > 0]
    tokens, said = found.said.cache.tokens, found.said
    if keeping:
        tight = min(keeping, key=lambda row: row.kv_capacity_tokens)
        capacity = _capacity(tight, pool.figures.memory_bytes)
        yield _within("KV tokens a rank", capacity, tokens, form=lambda value: f"{value:,.0f}")
        work = plan.deployment.workload
        each, most = work.input_tokens + work.output_tokens, pool.sequences_per_rank
        holds = None if tokens is None else tokens // each
        load = f"{most:,} sequences of {each:,} tokens a rank"
        yield _held("KV room for the load", load, holds, same=holds is not None and holds >= most)
    if said.weight_bytes is not None:
        planned = max(row.weights for row in pool.memory)
        ratio = said.weight_bytes / planned
        same = 1 / SAME_WEIGHTS <= ratio <= SAME_WEIGHTS
        yield _held("weights of a GPU", format_bytes(planned), format_bytes(said.weight_bytes), same=same)


def _capacity(row: MemoryRow, memory: Estimate) -> Estimate:
    """Tokens that fit, with the interval of the plan's memory: KV has what the engine leaves of a GPU."""
    each = row.kv_bytes_per_token
    return Estimate(
        value=row.kv_capacity_tokens,
        low=max(0.0, row.kv_capacity_tokens - (memory.high - memory.value) / each),
        high=row.kv_capacity_tokens + (memory.value - memory.low) / each,
    )


def _figures(found: Inspection, plan: Plan, pool: Pool) -> Iterator[Held]:
    """Measured beside predicted. Outside of the plan's load a figure says nothing of the prediction."""
    running = [rank.running for rank in found.ranks if rank.running is not None]
    planned = pool.sequences_per_rank * parse_layout(pool.layout).dp
    alike = bool(running) and planned / SAME_LOAD <= sum(running) <= planned * SAME_LOAD
    yield Held(
        what="requests running now",
        planned=f"{planned} of a copy",
        found=str(sum(running)) if running else NOTHING,
        verdict="not said" if not running else "agrees" if alike else "other load",
    )
    figures, seen = pool.figures, found.observed
    copies = parse_layout(pool.layout).copies
    rate = figures.throughput_tokens_per_s.scaled(1 / copies)
    rows = (
        ("TPOT", figures.tpot_s, _mean(seen.tpot), format_seconds),
        ("TTFT", figures.ttft_s, _mean(seen.ttft), format_seconds),
        ("output tokens/s of a copy", rate, seen.output_tokens_per_s, format_rate),
    )
    for what, figure, measured, form in rows:
        row = _within(f"{what}, measured", figure, measured, form=form)
        unlike: Verdict = "other load" if running and measured is not None else "not said"
        yield row if alike else row.model_copy(update={"verdict": unlike})


def _targets(found: Inspection, plan: Plan) -> Iterator[Held]:
    """A measured figure meets a target or misses it, whatever the load is."""
    targets, seen = plan.deployment.targets, found.observed
    rows = (("TPOT", targets.tpot_ms, seen.tpot), ("TTFT", targets.ttft_ms, seen.ttft))
    for what, target_ms, measured in rows:
        if target_ms is None:
            continue
        mean = _mean(measured)
        said = None if mean is None else format_seconds(mean)
        same = mean is not None and mean * 1e3 <= target_ms
        yield _held(f"target of {what}", f"at most {format_seconds(target_ms / 1e3)}", said, same=same)


def _mean(seen: Distribution | None) -> float | None:
    return None if seen is None else seen.mean_s


def _within(what: str, figure: Estimate, measured: float | None, *, form: Form) -> Held:
    """A measurement beside a prediction with its interval."""
    planned = f"{form(figure.value)} ({form(figure.low)} to {form(figure.high)})"
    same = measured is not None and figure.low <= measured <= figure.high
    return _held(what, planned, None if measured is None else form(measured), same=same)


def _held(what: str, planned: object, said: object, *, same: bool | None = None) -> Held:
    """same: None where both are equal only if they print alike."""
    if said is None:
        return Held(what=what, planned=_shown(planned), found=NOTHING, verdict="not said")
    alike = planned == said if same is None else same
    verdict: Verdict = "agrees" if alike else "differs"
    return Held(what=what, planned=_shown(planned), found=_shown(said), verdict=verdict)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return format_share(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
