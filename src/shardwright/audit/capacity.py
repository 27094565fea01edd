"""Checks of bytes: the model's size, and what a GPU holds by the layout and by the document's own map."""

from collections.abc import Iterator

from shardwright.audit.check import Check, Outcome, held
from shardwright.audit.digits import agrees, range_of, shown
from shardwright.audit.placing import stage_of
from shardwright.audit.step import number
from shardwright.audit.subject import Subject
from shardwright.cost.memory import RankMemory
from shardwright.layout.notation import format_layout
from shardwright.model.weights import num_parameters
from shardwright.search.pool import MEMORY_SPREAD
from shardwright.units import GB, format_bytes

OVERHEADS = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Shares that people add to a model's size divided by a degree."""

AXES = ("tp", "ep", "pp", "dp")

BILLION = 10**9


def model_size(subject: Subject) -> Iterator[Outcome]:
    """Stored bytes of all weights."""
    stated, truth = subject.claims.model_gb or 0.0, subject.model_bytes / GB
    yield _sized("GB", stated, truth, f"all weights in {subject.deployment.model.stored_in}")


def parameters(subject: Subject) -> Iterator[Outcome]:
    """Parameters, embedding and head counted."""
    truth = num_parameters(subject.deployment.model) / BILLION
    yield _sized("billion", subject.claims.parameters_billion or 0.0, truth, "all weights counted")


def _sized(unit: str, stated: float, truth: float, what: str) -> Outcome:
    right = agrees(stated, truth)
    return Outcome(
        status=held(right),
        claim=f"{shown(stated)} {unit}",
        truth=f"{truth:.2f} {unit}",
        sentence=f"The model has {truth:.2f} {unit}, "
        f"{what}{', as stated' if right else f', not {shown(stated)}'}.",
        arithmetic=(f"{what}: {truth:.2f} {unit}",),
        numbers={"stated": stated, "truth": truth},
        decisive=not right and stated < truth,
    )


def memory_per_gpu(subject: Subject) -> Iterator[Outcome]:
    """What the fullest GPU of the layout holds under the load."""
    claimed = subject.claims.memory_gb or 0.0
    predicted = subject.pool.figures.memory_bytes.scaled(1 / GB)
    fullest = max(subject.price.memories, key=lambda row: number(row.used))
    right = _is_predicted(subject)
    rest = claimed - predicted.value
    sentence = (
        f"The fullest GPU of {subject.pool.layout} ({predicted.binds}) holds "
        f"{_parts(fullest)}: {predicted.value:.1f} GB by the memory model"
    )
    if right:
        sentence += ", as claimed."
    else:
        sentence += f", which leaves {abs(rest):.1f} GB {'unexplained' if rest > 0 else 'uncounted'}."
    yield Outcome(
        status=held(right),
        claim=f"{shown(claimed)} GB a GPU",
        truth=f"{predicted.value:.1f} GB on the fullest GPU",
        sentence=sentence,
        arithmetic=tuple(f"{row.role}, {stage_of(row)}: {_parts(row)}" for row in subject.price.memories),
        numbers={
            "claimed_gb": claimed,
            "predicted_gb": predicted.value,
            "weights_gb": number(fullest.weights) / GB,
            "kv_gb": number(fullest.kv) / GB,
            "unexplained_gb": rest,
        },
        decisive=claimed < predicted.low,
    )


def memory_by_map(subject: Subject) -> Iterator[Outcome]:
    """What the GPUs of each role hold when the model is laid out as the document maps it."""
    mapped, claimed = subject.map_layout, subject.claims.memory_gb or 0.0
    if mapped is None:
        return
    rows = subject.map_price.memories
    wrong = [row for row in rows if not _near(claimed, number(row.used) / GB)]
    told = max(wrong or rows, key=lambda row: number(row.weights))
    weights, explained = number(told.weights), number(told.used - told.weights)
    beyond = claimed - weights / GB
    kv = "" if number(told.kv_bytes_per_token) else " and no KV"
    name = format_layout(mapped)
    sentence = f"By the map, {name}, a GPU of {told.role} holds {format_bytes(weights)} of weights{kv}"
    if not wrong:
        sentence += f", and {shown(claimed)} GB in all, as claimed."
    elif beyond > 0:
        sentence += (
            f": of {shown(claimed)} GB {beyond:.1f} GB are no weights, and {'' if kv else 'KV, '}"
            f"activations, buffers and the runtime explain {format_bytes(explained)} of them."
        )
    else:
        sentence += f", {-beyond:.1f} GB more than the {shown(claimed)} GB claimed for all of it."
    yield Outcome(
        status=held(not wrong),
        claim=f"{shown(claimed)} GB on every GPU",
        truth="; ".join(f"{row.role}, {stage_of(row)}: {format_bytes(number(row.used))}" for row in rows),
        sentence=sentence,
        arithmetic=tuple(f"{row.role}, {stage_of(row)}: {_parts(row)}" for row in rows),
        numbers={
            "weights_gb": weights / GB,
            "kv_gb": number(told.kv) / GB,
            "beyond_weights_gb": beyond,
            "unexplained_gb": beyond - explained / GB,
            "lightest_weights_gb": min(number(row.weights) for row in rows) / GB,
        },
        decisive=any(number(row.used) / GB > claimed * MEMORY_SPREAD for row in wrong),
    )


def memory_formula(subject: Subject) -> Iterator[Outcome]:
    """Whether the claim is the whole model divided by one degree and some overhead, which no GPU holds."""
    found = _divisor(subject)
    if found is None or _is_predicted(subject):
        return
    name, degree, overhead = found
    claimed, model_gb = subject.claims.memory_gb or 0.0, subject.claims.model_gb or subject.model_bytes / GB
    more = f" + {overhead * 100:.0f} %" if overhead else ""
    counted = f"{shown(model_gb)} GB / {name}{more} = {model_gb / degree * (1 + overhead):.1f} GB"
    yield Outcome(
        status="contradicted",
        claim=f"{shown(claimed)} GB a GPU",
        truth=f"{subject.pool.figures.memory_bytes.value / GB:.1f} GB on the fullest GPU",
        sentence=f"{shown(claimed)} GB equals {counted}, the whole model over {name} alone: no GPU of this "
        "layout holds that.",
        arithmetic=(counted,),
        numbers={"divisor": degree, "overhead": overhead},
    )


def _is_predicted(subject: Subject) -> bool:
    """Whether the claim, to its digits, lies in the interval of the memory model."""
    low, high = range_of(subject.claims.memory_gb or 0.0)
    predicted = subject.pool.figures.memory_bytes.scaled(1 / GB)
    return low <= predicted.high and high >= predicted.low


def _divisor(subject: Subject) -> tuple[str, int, float] | None:
    """(its name, a divisor, overhead) by which the claim is the model's size, the least overhead first."""
    stated, claimed = subject.stated, subject.claims.memory_gb
    model_gb = subject.claims.model_gb or subject.model_bytes / GB
    degrees = [(f"{axis.upper()}{getattr(stated, axis)}", getattr(stated, axis)) for axis in AXES]
    degrees.append((f"{subject.declared_gpus} GPUs", subject.declared_gpus))
    for overhead in OVERHEADS:
        for name, degree in degrees:
            if degree and degree > 1 and claimed and agrees(claimed, model_gb / degree * (1 + overhead)):
                return name, degree, overhead
    return None


def _near(claimed: float, used: float) -> bool:
    return used / MEMORY_SPREAD <= claimed <= used * MEMORY_SPREAD


def _parts(row: RankMemory) -> str:
    """The parts that take memory, in words."""
    parts = (
        ("expert weights", row.expert_weights),
        ("dense weights", row.dense_weights),
        ("embedding", row.embedding),
        ("head", row.head),
        ("KV", row.kv),
        ("activations and sampler", row.activations + row.sampler),
        ("buffers and runtime", row.buffers + row.runtime),
    )
    return " + ".join(f"{format_bytes(number(size))} {name}" for name, size in parts if number(size) > 0)


CAPACITY = (
    Check(
        id="model_size", title="Size of the model", judge=model_size, claims=("model_gb",), needs_layout=False
    ),
    Check(
        id="parameters",
        title="Parameters of the model",
        judge=parameters,
        claims=("parameters_billion",),
        needs_layout=False,
    ),
    Check(id="memory_per_gpu", title="Memory a GPU", judge=memory_per_gpu, claims=("memory_gb",)),
    Check(
        id="memory_by_map",
        title="Memory a GPU by the map",
        judge=memory_by_map,
        claims=("memory_gb", "gpu_map"),
        needs_layout=False,
    ),
    Check(
        id="memory_formula",
        title="Where the memory figure comes from",
        judge=memory_formula,
        claims=("memory_gb",),
    ),
)
