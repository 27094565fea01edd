"""The readings of a strategy string: every layout that one may take 'TP2-EP4-PP2-DP2' to mean.

Engines and papers count the GPUs of the same words differently. Each way of counting is a row of READINGS:
an arithmetic on the stated degrees and the layout that it builds. One interpreter builds them, says
which stated degree a layout does not keep, and merges rows that give the same layout.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.layout.stated import Stated
from shardwright.record import Record


class Reading(Record):
    """One layout that a strategy string can mean.

    rule: id of the row of READINGS. sentence: who reads it so, and the count of GPUs.
    contradicts: what the string says that the layout does not keep, '' when it keeps all.
    also: sentences of other rules that give the same layout.
    """

    gpus: int
    gpus_per_copy: int
    layout: Layout
    canonical: str
    rule: str
    sentence: str
    source: str
    contradicts: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Degrees:
    """The stated degrees, 1 where the string names none."""

    tp: int
    dp: int
    pp: int
    ep: int
    etp: int
    edp: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One way to count.

    names_ep: whether the rule is for strings that name EP (True), that do not (False), or both (None).
    build: the fields of the layout that differ from the stated degrees; a 0, or degrees that do not fit
        together, give no reading.
    gpus: the arithmetic in words of Degrees, for one of the stated copies.
    keeps: the property of Layout that a stated degree turns into, where it is not the field of its name.
    """

    id: str
    sentence: str
    source: str
    build: Callable[[Degrees], dict[str, object]]
    gpus: str
    names_ep: bool | None = None
    keeps: dict[str, str] = field(default_factory=dict)


def _over(whole: int, part: int) -> int:
    """whole / part, or 0 when it does not divide: a degree that no layout has."""
    return whole // part if whole % part == 0 else 0


_VLLM = "vLLM 0.33, vllm/config/parallel.py and vllm/distributed/parallel_state.py"
_SGLANG = "SGLang 0.5.23, srt/distributed/parallel_state.py"
_TENSORRT = "TensorRT-LLM, tensorrt_llm/mapping.py"
_MEGATRON = "Megatron-Core, megatron/core/parallel_state.py and transformer/moe/README.md"
_BRIDGE = "Megatron-Bridge, skills/nemo-mbridge-perf-parallelism-strategies, 'Minimum GPU Count'"
_AFD = "MegaScale-Infer, arXiv 2504.02263; vllm-project/afd-plugin"

READINGS: tuple[Rule, ...] = (
    Rule(
        id="derived",
        sentence="vLLM takes no EP degree: it derives EP = TP x DP of a stage, experts on the same GPUs",
        source=_VLLM,
        build=lambda d: {"ep": d.tp * d.dp, "etp": 1, "edp": 1},
        gpus="{tp} x {dp} x {pp}",
    ),
    Rule(
        id="folded",
        sentence="TP x DP = ETP x EP x EDP in a stage: what EP leaves over slices the experts (vLLM without "
        "expert parallelism, SGLang, TensorRT-LLM)",
        source=f"{_SGLANG}; {_TENSORRT}; {_VLLM}",
        build=lambda d: {"etp": _over(d.tp * d.dp, d.ep * d.edp)},
        gpus="{tp} x {dp} x {pp}",
    ),
    Rule(
        id="stage_tp",
        sentence="SGLang counts all GPUs of a stage as TP, with attention DP and EP inside it",
        source=_SGLANG,
        build=lambda d: {"tp": _over(d.tp, d.dp), "etp": _over(d.tp, d.ep * d.edp)},
        gpus="{tp} x {pp}",
        keeps={"tp": "attention_ranks"},
    ),
    Rule(
        id="expert_dp",
        sentence="Megatron-Core's defaults: ETP = TP, EDP = DP / EP",
        source=_MEGATRON,
        build=lambda d: {"etp": d.tp, "edp": _over(d.dp, d.ep)},
        gpus="{tp} x {dp} x {pp}",
        names_ep=True,
    ),
    Rule(
        id="minimum",
        sentence="Megatron-Bridge's minimum: a stage is as large as the larger of TP and EP x ETP, "
        "and DP follows from it",
        source=_BRIDGE,
        build=lambda d: {
            "dp": _over(max(d.tp, d.ep * d.etp), d.tp),
            "edp": _over(max(d.tp, d.ep * d.etp), d.ep * d.etp),
        },
        gpus="{pp} x max({tp}, {ep} x {etp})",
        names_ep=True,
    ),
    Rule(
        id="replicas",
        sentence="DP counts independent copies, as SGLang's --dp-size does; EP stays inside TP",
        source=_SGLANG,
        build=lambda d: {"dp": 1, "copies": d.dp, "etp": _over(d.tp, d.ep * d.edp)},
        gpus="{tp} x {pp} x {dp}",
        keeps={"dp": "copies"},
    ),
    Rule(
        id="replicas_derived",
        sentence="DP counts independent copies, in each of which vLLM derives EP = TP",
        source=_VLLM,
        build=lambda d: {"dp": 1, "copies": d.dp, "ep": d.tp, "etp": 1, "edp": 1},
        gpus="{tp} x {pp} x {dp}",
        names_ep=False,
        keeps={"dp": "copies"},
    ),
    Rule(
        id="shared",
        sentence="experts on GPUs of their own, one set for all stages",
        source=_AFD,
        build=lambda d: {"home": "shared" if d.pp > 1 else "per_stage"},
        gpus="{tp} x {dp} x {pp} + {ep} x {etp} x {edp}",
        names_ep=True,
    ),
    Rule(
        id="stage_ep",
        sentence="EP sets the size of a stage, experts on the attention GPUs; DP counts copies",
        source=f"{_MEGATRON}: a world of DP times the smallest",
        build=lambda d: {"dp": _over(d.ep * d.etp * d.edp, d.tp), "copies": d.dp},
        gpus="{ep} x {etp} x {edp} x {pp} x {dp}",
        names_ep=True,
        keeps={"dp": "copies"},
    ),
    Rule(
        id="per_stage",
        sentence="experts on GPUs of their own in every stage",
        source=_AFD,
        build=lambda d: {"home": "per_stage"},
        gpus="{pp} x ({tp} x {dp} + {ep} x {etp} x {edp})",
        names_ep=True,
    ),
    Rule(
        id="dedicated",
        sentence="TP x PP GPUs for attention, EP of their own for all stages' experts; DP counts copies",
        source=f"{_AFD}; a map of GPUs with attention stages first, then one GPU for each expert group",
        build=lambda d: {"dp": 1, "copies": d.dp, "home": "shared" if d.pp > 1 else "per_stage"},
        gpus="({tp} x {pp} + {ep} x {etp} x {edp}) x {dp}",
        names_ep=True,
        keeps={"dp": "copies"},
    ),
    Rule(
        id="product",
        sentence="the plain product, which Megatron-Bridge calls wrong: a stage has attention TP x (EP x DP) "
        "over experts ETP = TP, EP, EDP = DP",
        source=_BRIDGE,
        build=lambda d: {"dp": d.ep * d.dp, "etp": d.tp, "edp": d.dp},
        gpus="{tp} x {ep} x {pp} x {dp}",
        names_ep=True,
        keeps={"dp": "edp"},
    ),
)

DENSE = Rule(
    id="dense",
    sentence="the model has no experts, so DP counts independent copies",
    source=_VLLM,
    build=lambda d: {"dp": 1, "copies": d.dp, "ep": 1, "etp": 1, "edp": 1},
    gpus="{tp} x {pp} x {dp}",
    keeps={"dp": "copies"},
)


def readings(stated: Stated, *, has_experts: bool) -> tuple[Reading, ...]:
    """Every reading of `stated`, by GPUs; one a layout. A rule whose degrees do not divide gives none.

    A dense model has one reading; an EP stated for it is a contradiction of that reading.
    Stated copies multiply each reading.
    """
    rules = READINGS if has_experts else (DENSE,)
    found = [reading for rule in rules if (reading := _read(rule, stated)) is not None]
    return tuple(sorted(_merged(found), key=lambda reading: reading.gpus))


def match(found: Iterable[Reading], num_gpus: int) -> tuple[Reading, ...]:
    """The readings that take exactly `num_gpus` GPUs."""
    return tuple(reading for reading in found if reading.gpus == num_gpus)


def _read(rule: Rule, stated: Stated) -> Reading | None:
    """The reading of `stated` by one rule, or None where the rule does not apply."""
    if rule.names_ep not in (None, stated.ep is not None):
        return None
    degrees = {axis: getattr(stated, axis) or 1 for axis in Degrees.__dataclass_fields__}
    copies = stated.copies or 1
    fields = degrees | rule.build(Degrees(**degrees))
    try:
        one = Layout.model_validate(fields)
        layout = Layout.model_validate(fields | {"copies": one.copies * copies})
    except ValidationError:
        return None
    count = re.sub(r" x 1\b", "", rule.gpus.format(**degrees))
    if copies > 1:
        count = f"({count}) x {copies}"
    return Reading(
        gpus=layout.num_gpus,
        gpus_per_copy=layout.gpus_per_copy,
        layout=layout,
        canonical=format_layout(layout),
        rule=rule.id,
        sentence=f"{rule.sentence}: {count} = {layout.num_gpus}",
        source=rule.source,
        contradicts=_contradictions(rule, stated, one),
    )


def _contradictions(rule: Rule, stated: Stated, layout: Layout) -> str:
    """The stated degrees that `layout` does not keep: 'EP64: comes out as 16'."""
    lost = []
    for axis in Degrees.__dataclass_fields__:
        said, kept = getattr(stated, axis), getattr(layout, rule.keeps.get(axis, axis))
        if said not in (None, kept):
            lost.append(f"{axis.upper()}{said}: comes out as {kept}")
    return "; ".join(lost)


def _merged(found: list[Reading]) -> list[Reading]:
    """One reading a layout: the first that keeps all that the string says, the others under `also`."""
    by_layout: dict[str, list[Reading]] = {}
    for reading in found:
        by_layout.setdefault(reading.canonical, []).append(reading)
    merged = []
    for same in by_layout.values():
        chosen = min(same, key=lambda reading: bool(reading.contradicts))
        also = tuple(reading.sentence for reading in same if reading is not chosen)
        merged.append(chosen.model_copy(update={"also": also}))
    return merged
