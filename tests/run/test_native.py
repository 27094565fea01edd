"""A second oracle: transformers' own parallelism computes what our runtime and the unsharded model do.

Its degrees beside ours, from the text of TransformersDeviceMesh (transformers 5.23.0,
src/transformers/distributed/utils.py): fsdp is dp and copies, since every fsdp rank has a batch of its own
(its weights are cut over fsdp as well, and gathered to compute); efsdp is edp; without ep, experts are cut
by tp; with ep they never are, and there is no etp.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.distributed import DistributedConfig

from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.plan.proof import Trial
from shardwright.run.perform import perform_here
from shardwright.run.prove import proof_job
from shardwright.run.subject import Subject
from shardwright.run.tiny import FAMILIES
from tests.run.native import NativeError, Ranks, Seen, Task

NUM_STEPS = 3
"""Prefill and two decode steps."""

WITHIN_ALL = 1e-5
"""Less than the tolerance of any family (1.8e-5 to 5.1e-5 on one CPU), which takes a second to find out."""

Rows = dict[tuple[int, int], Tensor]
"""Logits [vocab] of the last token, by (step, sequence)."""


def ours(layout: Layout, subject: Subject) -> Rows:
    """Our runtime's, one process playing every rank; two sequences a dp rank of a copy."""
    job = replace(proof_job(layout, subject, Trial(micro_batches=1)), num_tokens=NUM_STEPS)
    return {
        (step, sequence): torch.from_numpy(row)
        for result in perform_here(job)
        for step, rows in enumerate(result.logits)
        for sequence, row in rows.items()
    }


DENSE = ("llama", "qwen3")
MOE = tuple(family for family in FAMILIES if family not in DENSE)
CUT_BY_TP = tuple(family for family in MOE if family != "gpt_oss")

SPLITS: dict[str, tuple[str, ...]] = {
    "tp2": DENSE,
    "tp4": DENSE,
    "tp2.x2": DENSE,
    "tp2/etp2": CUT_BY_TP,
    "tp4/etp4": CUT_BY_TP,
    "tp2/etp2.x2": CUT_BY_TP,
    "tp2/ep2": MOE,
    "tp4/ep4": MOE,
    "dp2/ep2": MOE,
    "dp4/ep4": MOE,
    "dp4/ep2.edp2": MOE,
    "tp2.dp2/ep4": MOE,
    "tp2.dp2/ep2.edp2": MOE,
    "pp2": tuple(FAMILIES),
    "pp3": tuple(FAMILIES),
    "pp4": tuple(FAMILIES),
}
"""Layout -> the families that it splits so; what is not here is below."""

QUICK = {
    ("llama", "tp2"),
    ("qwen3", "tp2"),
    ("mixtral", "tp2.dp2/ep4"),
    ("mixtral", "pp3"),
    ("qwen3_moe", "tp2/etp2"),
    ("olmoe", "tp2/ep2"),
    ("deepseek_v2", "tp2/etp2"),
    ("deepseek_v3", "tp4/ep4"),
    ("gpt_oss", "tp2/ep2"),
}
"""In every run of the suite; the others in `make test-slow`."""

CELLS = [
    pytest.param(family, layout, marks=[] if (family, layout) in QUICK else [pytest.mark.slow])
    for layout, families in SPLITS.items()
    for family in families
]

PLANS: dict[str, dict[str, str]] = {
    "deepseek_v3": {
        "q_b_proj": "colwise",
        "kv_a_proj_with_mqa": "mla_kv_a_proj",
        "kv_b_proj": "colwise",
        "o_proj": "rowwise",
    },
    "gpt_oss": {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "sinks"), "colwise"),
        "o_proj": "rowwise",
        "": "local_params",
    },
}
"""Its styles for attention, which its own tp plan of these families leaves whole: as in its plans of
deepseek_v2 and llama, and for sinks (with "", the module itself) as LocalParamsParallel says."""


@pytest.fixture(scope="module")
def subjects(made: Path) -> Mapping[str, Subject]:
    torch.set_num_threads(1)  # on matrices this small, two threads take three times the CPU time
    return {family: Subject(family, made / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    """Reused by all; after a failure they start anew."""
    with Ranks(4) as ranks:
        yield ranks


def degrees(layout: Layout) -> dict[str, Any]:
    """The layout as arguments of DistributedConfig; what has no degree of its own is passed over."""
    dp = layout.dp * layout.copies
    return {"tp_size": layout.tp, "fsdp_size": dp, "pp_size": layout.pp, "ep_size": layout.ep}


def settings(layout: Layout, family: str) -> dict[str, Any]:
    """Degrees, plan, and how experts are reached: on 4 ranks of one batch by all_reduce, but for gpt_oss
    (see FAILS); else by all_to_all."""
    summed = layout.ep == layout.tp == 4 and family != "gpt_oss"
    stated = degrees(layout) | {"ep_implementation": "all_reduce" if summed else "all_to_all"}
    if layout.tp > 1 and family in PLANS:
        plan = PLANS[family].items()
        stated["tp_plan"] = {f"model.layers.*.self_attn.{name}".rstrip("."): style for name, style in plan}
    return stated


def task(layout: Layout, subject: Subject, stated: Mapping[str, Any], *, padded: bool = True) -> Task:
    """The sequences of ours, of which a dp rank has every dp-th. padded: in one batch, else one by one."""
    num_batches = layout.dp * layout.copies
    prompts = subject.prompts(2 * num_batches)
    served = [
        tuple(range(rank // layout.tp % num_batches, len(prompts), num_batches))
        for rank in range(layout.num_gpus)
    ]
    return Task(
        folder=subject.folder,
        degrees=stated,
        prompts=tuple(prompts),
        shares=tuple((own,) if padded else tuple((i,) for i in own) for own in served),
        forced=tuple(subject.expected(i).tokens[: NUM_STEPS - 1] for i in range(len(prompts))),
    )


def rows_of(seen: list[Seen]) -> Rows:
    """Every rank of a tp group and of a pipeline has the logits of its sequences: the same ones."""
    rows: Rows = {}
    for key, values in (item for rank in seen for item in rank.logits.items()):
        row = torch.tensor(values)
        assert torch.equal(rows.setdefault(key, row), row)
    return rows


def unsharded(subject: Subject, num_sequences: int) -> Rows:
    return {
        (step, i): subject.expected(i).logits[step]
        for step, i in product(range(NUM_STEPS), range(num_sequences))
    }


def agree(one: Rows, other: Rows, subject: Subject) -> bool:
    """Within the tolerance of a proof, which is asked for only where that is not certain."""
    assert one.keys() == other.keys()
    worst = max(float((one[key] - other[key]).abs().max()) for key in one)
    return worst <= WITHIN_ALL or worst <= subject.tolerance


def divided(subject: Subject) -> dict[str, int]:
    """Elements of the weights that every split divides: projections between heads and over the width of an
    MLP, and experts; not embeddings, norms, biases, the router, and what leads to the latents of MLA."""
    ends = ("_proj.weight", "experts.gate_up_proj", "experts.down_proj")
    weights = {name: weight.numel() for name, weight in subject.network.named_parameters()}
    return {name: num for name, num in weights.items() if name.endswith(ends) and "q_a_proj" not in name}


def copies_held(subject: Subject, seen: list[Seen]) -> dict[str, float]:
    """Of the divided weights, how often each is there, over all ranks."""
    return {
        name: sum(rank.num_held.get(name, 0) for rank in seen) / num for name, num in divided(subject).items()
    }


@pytest.mark.parametrize(("family", "text"), CELLS)
def test_it_computes_what_we_and_the_unsharded_model_do(
    family: str, text: str, ranks: Ranks, subjects: Mapping[str, Subject]
) -> None:
    subject, layout = subjects[family], parse_layout(text)
    own, whole = ours(layout, subject), unsharded(subject, 2 * layout.dp * layout.copies)
    seen = ranks.run(task(layout, subject, settings(layout, family), padded=layout.pp == 1))
    theirs = rows_of(seen)
    for one, other in ((theirs, own), (theirs, whole), (own, whole)):
        assert agree(one, other, subject)

    # It is not the unsharded model once more: of every divided weight each element is on one rank alone,
    assert len(seen) == layout.num_gpus > 1
    assert len(divided(subject)) >= 20
    assert set(copies_held(subject, seen).values()) == {1.0}
    if layout.pp == 1:  # and each rank has an equal part of each
        equal = {name: num // len(seen) for name, num in divided(subject).items()}
        assert all(rank.num_held | equal == rank.num_held for rank in seen)


# --- what it cannot do ---------------------------------------------------------------------------


def test_it_has_no_degree_for_etp_copies_of_experts_and_gpus_of_their_own() -> None:
    """So that `+ep4`, `.r2` and etp beside ep are ours alone; dp_replicate is copies, each cut over fsdp."""
    sizes = {field.name for field in fields(DistributedConfig) if field.name.endswith("_size")}
    assert sizes == {"tp_size", "fsdp_size", "dp_replicate_size", "pp_size", "ep_size"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tp4/ep2.edp2", "`ep_size` must be a multiple of `tp_size`"),
        ("tp4/ep2.etp2", "`ep_size` must be a multiple of `tp_size`"),
        ("dp2.pp2/ep2", "Combining FSDP with pipeline parallelism is not supported"),
        ("pp2.x2", "Combining FSDP with pipeline parallelism is not supported"),
    ],
)
def test_it_refuses(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DistributedConfig(**degrees(parse_layout(text)))


@pytest.mark.parametrize(("family", "left"), [("deepseek_v3", "self_attn"), ("gpt_oss", "model")])
def test_its_own_plan_leaves_weights_whole(
    family: str, left: str, ranks: Ranks, subjects: Mapping[str, Subject]
) -> None:
    """DeepSeek-V3's has no attention, gpt-oss's nothing but the head: hence PLANS. Nor can a plan cut the
    experts of gpt-oss by tp: they add their bias on every rank, and the sum would have it once a rank."""
    subject, layout = subjects[family], parse_layout("tp2/etp2")
    seen = ranks.run(task(layout, subject, degrees(layout)))
    held = copies_held(subject, seen)
    assert held == {name: 2.0 if left in name else 1.0 for name in held}
    assert seen[0].num_held["lm_head.weight"] * 2 == subject.network.get_parameter("lm_head.weight").numel()
    assert agree(rows_of(seen), unsharded(subject, 2), subject)


def test_its_pipeline_forgets_the_padding_when_it_decodes(
    ranks: Ranks, subjects: Mapping[str, Subject]
) -> None:
    """A stage without layer 0 takes its cache for empty (get_seq_length asks layer 0), and masks nothing."""
    subject, layout = subjects["llama"], parse_layout("pp2")
    shorter, longer = subject.prompts(2)
    assert len(shorter) < len(longer)
    found, whole = rows_of(ranks.run(task(layout, subject, degrees(layout)))), unsharded(subject, 2)
    wrong = {key for key in whole if float((found[key] - whole[key]).abs().max()) > WITHIN_ALL}
    assert wrong == {(1, 0), (2, 0)}


FAILS: list[tuple[str, str, str, str]] = [
    # The other stage's weights: its tp plan was made of the whole model.
    ("llama", "tp2.pp2", "auto", r"KeyError: 'model\.(layers\.2|embed_tokens)\."),
    ("mixtral", "tp2.pp2/ep2", "auto", "ValueError: Combining token dispatch with pipeline parallelism"),
    ("mixtral", "dp3/ep3", "auto", "ValueError: Cannot evenly shard 8 experts across 3"),
    # An expert of another rank counts as one class more; the one_hot of this family has no room for it.
    ("gpt_oss", "tp2/ep2", "all_reduce", "RuntimeError: Class values must be smaller than num_classes"),
]
"""(family, layout, how experts are reached, what its ranks raise); but the first in `make test-slow`."""


@pytest.mark.parametrize(
    "case", [FAILS[0], *(pytest.param(case, marks=pytest.mark.slow) for case in FAILS[1:])]
)
def test_it_fails(case: tuple[str, str, str, str], ranks: Ranks, subjects: Mapping[str, Subject]) -> None:
    family, text, reached, reason = case
    layout = parse_layout(text)
    with pytest.raises(NativeError, match=reason):
        ranks.run(task(layout, subjects[family], degrees(layout) | {"ep_implementation": reached}))


@pytest.mark.slow
def test_a_rank_that_hangs_is_given_up_and_none_is_left(subjects: Mapping[str, Subject]) -> None:
    subject, layout = subjects["llama"], parse_layout("tp2")
    with Ranks(2) as ranks:
        ranks.run(task(layout, subject, degrees(layout)))
        pids, start_s = [process.pid for process in ranks.processes], time.monotonic()
        os.kill(pids[1], signal.SIGSTOP)
        with pytest.raises(NativeError, match="2 ranks not heard of within 1 s"):
            ranks.run(task(layout, subject, degrees(layout)), limit_s=1.0)
        assert time.monotonic() - start_s < 5.0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert ranks.processes == []
