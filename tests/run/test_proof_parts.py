"""What the matrix does not reach: other lengths, other forms of collectives, prompts in pieces, bf16."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache

from shardwright.errors import InputError
from shardwright.layout.notation import parse_layout
from shardwright.plan.proof import Trial
from shardwright.run.job import Job
from shardwright.run.perform import perform_here
from shardwright.run.prove import proof_job, prove_subject
from shardwright.run.subject import NUM_TOKENS, Subject
from shardwright.run.tiny import FAMILIES
from tests.run.conftest import change


@pytest.fixture(scope="module")
def subjects(made: Path) -> dict[str, Subject]:
    torch.set_num_threads(1)  # on matrices this small, two threads take three times the CPU time
    return {family: Subject(family, made / family) for family in FAMILIES}


def unsharded(subject: Subject, prompt: list[int]) -> Tensor:
    """Logits of the last token."""
    with torch.no_grad():
        row: Tensor = subject.network(torch.tensor([prompt]), past_key_values=DynamicCache()).logits[0, -1]
    return row


def test_prompts_of_unequal_length_share_a_micro_batch(subjects: dict[str, Subject]) -> None:
    """However many dp ranks and micro-batches deal them out: padding is met in every proof."""
    for ranks in range(1, 33):
        prompts = subjects["llama"].prompts(2 * ranks)
        assert any(len(prompts[i]) != len(prompts[i + ranks]) for i in range(ranks)), ranks
        assert {len(prompt) for prompt in prompts} <= {5, 6, 7, 8}


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_from_one_token_on(family: str, subjects: dict[str, Subject]) -> None:
    """19 tokens beside 1, over tp, pp and wide or split experts, whole and in pieces of one token or four."""
    subject, generator = subjects[family], torch.Generator().manual_seed(5)
    prompts = tuple(torch.randint(3, 260, (n,), generator=generator).tolist() for n in (1, 19, 2, 3))
    moe = subject.model.experts is not None
    for text, chunk_tokens in (
        (("tp2.dp2.pp2/etp4", None), ("tp2.dp2.pp2/ep4.r1", 4)) if moe else (("tp4.pp2.x2", 1),)
    ):
        job = proof_job(parse_layout(text), subject, Trial(micro_batches=1, chunk_tokens=chunk_tokens))
        job = replace(job, prompts=prompts, num_tokens=1, forced=None)
        rows = first_logits(job)
        assert sorted(rows) == [0, 1, 2, 3]
        for index, prompt in enumerate(prompts):
            gap = (rows[index] - unsharded(subject, prompt)).abs().max()
            assert gap <= subject.tolerance, (text, index)


def first_logits(job: Job) -> dict[int, Tensor]:
    """Of every sequence."""
    return {i: torch.from_numpy(row) for result in perform_here(job) for i, row in result.logits[0].items()}


TRIALS = {
    "two levels": ("tp4.pp2+ep2.etp2", Trial(near_ranks=2)),
    "two levels, all near": ("tp4.dp2/ep4.etp2", Trial(near_ranks=4)),
    "two levels beside wide ETP": ("tp2.dp2/etp4", Trial(near_ranks=2)),
    "batched": ("tp2.dp2.pp2/ep4", Trial(micro_batches=4, batched=True)),
    "batched, own GPUs": ("dp2.pp2+ep3.shared", Trial(micro_batches=3, batched=True)),
    "batched, wide ETP": ("tp2.dp4/ep2.etp4", Trial(batched=True)),
    "pieces of three": ("tp2.dp2.pp2+ep3.shared", Trial(chunk_tokens=3)),
    "pieces of one": ("dp2/ep2.x2", Trial(chunk_tokens=1)),
    "all together": (
        "tp4.pp2:3:1/ep4.r4",
        Trial(near_ranks=2, batched=True, chunk_tokens=2, micro_batches=3),
    ),
}


@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("family", ["olmoe", "deepseek_v3", "gpt_oss", "qwen3"])
def test_other_forms_give_the_same_answers(name: str, family: str, subjects: dict[str, Subject]) -> None:
    text, trial = TRIALS[name]
    proof = prove_subject(parse_layout(text), subjects[family], trial)
    assert proof.failures == ()
    assert proof.trial == trial
    pieces = 1 if trial.chunk_tokens is None else -(-longest(proof.num_sequences) // trial.chunk_tokens)
    assert proof.num_steps == pieces + 4


def longest(num_sequences: int) -> int:
    """Prompt i has 5 tokens and one more for each bit of i, modulo 4."""
    return max(5 + index.bit_count() % 4 for index in range(num_sequences))


def test_the_bytes_of_a_sum_in_two_levels_by_hand(subjects: dict[str, Subject]) -> None:
    """A buffer of S bytes on 4 ranks, 2 near: scatter and gather of S on every rank, S / 2 between them."""
    flat, two = (
        prove_subject(parse_layout("tp4/ep4"), subjects["mixtral"], Trial(near_ranks=near)) for near in (1, 2)
    )
    sums = ("attention_sum", "embedding_sum", "experts_sum")
    of_flat = {row.name: row for row in flat.collectives}
    for row in two.collectives:
        times, share = (3, 2.5) if row.name in sums else (1, 1)
        assert row.count == times * of_flat[row.name].count
        assert row.recorded_bytes == share * of_flat[row.name].recorded_bytes


def test_batched_exchanges_are_one_message_a_peer(subjects: dict[str, Subject]) -> None:
    """As many bytes in all, half as many exchanges; the counts of rows travel together too."""
    alone, batched = (
        perform_here(proof_job(parse_layout("dp2+ep2"), subjects["mixtral"], Trial(batched=batched)))
        for batched in (False, True)
    )
    for one, all_at_once in zip(alone, batched, strict=True):
        for name in ("dispatch_counts", "dispatch", "combine"):
            own = [entry for entry in one.performed if entry.name == name]
            packed = [entry for entry in all_at_once.performed if entry.name == name]
            assert len(own) == 2 * len(packed)
            assert sum(sum(entry.gives) for entry in own) == sum(sum(entry.gives) for entry in packed)
            assert {entry.micro_batch for entry in packed} == {0}


@pytest.mark.parametrize(("layout", "near_ranks"), [("tp4", 3), ("tp2", 4)])
def test_near_ranks_divide_the_group(layout: str, near_ranks: int, subjects: dict[str, Subject]) -> None:
    with pytest.raises(InputError, match="near_ranks"):
        prove_subject(parse_layout(layout), subjects["llama"], Trial(near_ranks=near_ranks))


@pytest.mark.parametrize(("family", "layout"), [("llama", "tp2"), ("deepseek_v3", "tp2/ep2")])
def test_weights_of_16_bits_are_proved_in_fp32(family: str, layout: str, made: Path, tmp_path: Path) -> None:
    """As the checkpoints of the hub are: the graph's bytes are of what is executed, not of what is stored."""
    folder = stored_in_16_bits(family, made, tmp_path)
    proof = prove_subject(parse_layout(layout), Subject(family, folder))
    assert (proof.dtype, proof.failures) == ("float32", ())
    assert all(row.recorded_bytes % 4 == 0 < row.recorded_bytes for row in proof.collectives)


def stored_in_16_bits(family: str, made: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(made / family, tmp_path / family))
    change(folder, "config.json", dtype="bfloat16")
    stored = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        "deepseek_v3",
        *(
            pytest.param(f, marks=pytest.mark.slow)
            for f in ("qwen3", "mixtral", "qwen3_moe", "olmoe", "deepseek_v2", "gpt_oss")
        ),
    ],
)
def test_bf16_stays_within_its_own_rounding(family: str, made: Path, subjects: dict[str, Subject]) -> None:
    """Compared up to where a sequence's tokens choose other experts: near ties fall either way."""
    half = Subject(family, made / family, dtype=torch.bfloat16)
    moe = half.model.experts is not None
    proof = prove_subject(parse_layout("tp2.dp2.pp2/ep2.etp2" if moe else "tp2.pp2.x2"), half)
    assert proof.failures == ()
    assert (proof.dtype, proof.noise) == ("bfloat16", 0.0)
    assert 1e-3 < proof.largest_difference <= proof.tolerance
    assert proof.largest_difference < 0.2  # logits deviate by 1.2 to 1.4
    assert moe or not proof.strayed_sequences
    whole = prove_subject(parse_layout("tp2.dp2.pp2/ep2.etp2" if moe else "tp2.pp2.x2"), subjects[family])
    for row, full in zip(proof.collectives, whole.collectives, strict=True):
        if row.name not in ("logits_gather", "qk_norm_sum", "dispatch", "combine"):
            assert 2 * row.recorded_bytes == full.recorded_bytes


def test_a_bf16_mutant_is_caught(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tolerance of bf16 is wide, but not as wide as a mistake."""
    from tests.run.mutants_of_weights import WEIGHT_MUTANTS  # noqa: PLC0415 - patches on call alone

    mutant = WEIGHT_MUTANTS["o_proj bias on every rank"]
    mutant.patch(monkeypatch)
    half = Subject(mutant.family, made / mutant.family, dtype=torch.bfloat16)
    proof = prove_subject(parse_layout(mutant.layout), half)
    assert not proof.passed
    assert len(half.expected(0).tokens) == NUM_TOKENS
