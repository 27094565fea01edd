"""Real processes over gloo: what they compute, send and overlap, and how they end when one is lost."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shardwright.errors import InputError
from shardwright.layout.notation import parse_layout
from shardwright.layout.stages import stage_counts
from shardwright.run.job import Job, Performed, RankResult
from shardwright.run.perform import perform_here
from shardwright.run.pool import PRELOAD, Pool, RankError
from shardwright.run.seat import Seat, Seats
from shardwright.run.subject import Subject
from shardwright.run.tiny import make_tiny

NUM_TOKENS, TOLERANCE, LIMIT_S = 3, 5e-5, 10.0

QUICK = [
    ("qwen3_moe", "tp2.dp4/ep4.etp2", 2),
    ("gpt_oss", "dp3+ep2.etp2", 2),
    ("qwen3_moe", "tp2.pp2:3:1+ep4.shared", 3),
]
OTHERS = [
    ("qwen3_moe", "tp2.dp2/ep4", 2),
    ("qwen3_moe", "dp4/etp4", 2),
    ("qwen3_moe", "pp4/ep1.x2", 4),
    ("gpt_oss", "tp2.dp2/ep4.r4", 2),
    ("gpt_oss", "tp2.dp2/etp4", 1),
    ("gpt_oss", "pp2+ep2.r2", 2),
    ("deepseek_v3", "tp2.dp2.pp2:1:3/ep2.etp2", 2),
    ("deepseek_v3", "tp4+ep2.edp2", 2),
    ("olmoe", "tp8/ep8", 2),
    ("llama", "tp2.pp2.x2", 2),
]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    folder = tmp_path_factory.mktemp("tiny")
    return {
        family: Subject(family, make_tiny(family, folder / family))
        for family in {case[0] for case in QUICK + OTHERS}
    }


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Reused by all: after a rank is lost it starts anew."""
    with Pool(8, patience_s=4.0) as pool:
        yield pool


def make_job(subject: Subject, text: str, num_micro_batches: int, *, num_tokens: int = NUM_TOKENS) -> Job:
    """Two sequences a micro-batch; the tokens of the unsharded model are forced."""
    layout = parse_layout(text)
    model = subject.model
    seats = Seats(model=model, layout=layout, stage_layers=stage_counts(layout, model.num_layers))
    prompts = subject.prompts(2 * num_micro_batches * layout.dp * layout.copies)
    expected = [subject.expected(sequence).tokens for sequence in range(len(prompts))]
    return Job(
        folder=subject.folder,
        seats=seats,
        prompts=tuple(prompts),
        num_micro_batches=num_micro_batches,
        num_tokens=num_tokens,
        forced=tuple({i: row[step] for i, row in enumerate(expected)} for step in range(NUM_TOKENS)),
    )


def worst_difference(subject: Subject, job: Job, results: list[RankResult]) -> float:
    """Of any logit from the unsharded model's; every sequence is there, from one rank, at every step."""
    worst = 0.0
    for step in range(job.num_tokens):
        rows = [item for result in results for item in result.logits[step].items()]
        assert sorted(sequence for sequence, _ in rows) == list(range(len(job.prompts)))
        for sequence, row in rows:
            expected = subject.expected(sequence).logits[step]
            worst = max(worst, float((torch.from_numpy(row) - expected).abs().max()))
    return worst


def gone(pids: list[int]) -> bool:
    """Whether none of the processes is there; a zombie counts as there."""
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def wait_until_gone(pids: list[int], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not gone(pids):
        assert time.monotonic() < end, f"still there: {[pid for pid in pids if not gone([pid])]}"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("family", "text", "num_micro_batches"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
)
def test_it_computes_and_sends_what_one_process_does(
    family: str, text: str, num_micro_batches: int, subjects: dict[str, Subject], pool: Pool
) -> None:
    subject = subjects[family]
    job = make_job(subject, text, num_micro_batches)
    results = pool.run(job)
    assert worst_difference(subject, job, results) <= TOLERANCE

    for result, alone in zip(results, perform_here(job), strict=True):
        for index in range(num_micro_batches):
            assert rows(result, index) == rows(alone, index)
        for field in ("rank", "tokens", "num_loaded", "weight_bytes", "kv_bytes", "bytes_read"):
            assert getattr(result, field) == getattr(alone, field)
        assert {key: ids.tolist() for key, ids in result.routed.items()} == {
            key: ids.tolist() for key, ids in alone.routed.items()
        }


def rows(result: RankResult, micro_batch: int) -> list[Performed]:
    """What both interpreters must record alike, in order."""
    return [
        replace(entry, posted_s=0.0, done_s=0.0)
        for entry in result.performed
        if entry.micro_batch == micro_batch
    ]


def test_one_micro_batch_computes_while_another_is_on_its_way(
    subjects: dict[str, Subject], pool: Pool
) -> None:
    results = pool.run(make_job(subjects["qwen3_moe"], "tp2+ep2", 2))
    for result in results:
        first, second = (
            [entry for entry in result.performed if entry.micro_batch == index] for index in range(2)
        )
        # From one request's end to the next one's start the rank computes for that micro-batch.
        computing = [
            (before.done_s, after.posted_s) for before, after in pairwise(second) if before.step == after.step
        ]
        overlaps = [
            entry
            for entry in first
            for start, end in computing
            if entry.posted_s < start and end < entry.done_s
        ]
        assert overlaps, result.rank


def test_attention_and_expert_ranks_play_ping_pong(subjects: dict[str, Subject], pool: Pool) -> None:
    """While the expert rank computes for one micro-batch, the attention rank does for another."""
    attention, experts = pool.run(make_job(subjects["qwen3_moe"], "tp1+ep1", 3))
    at_experts = stretches(experts, after="dispatch", until="combine")
    elsewhere = stretches(attention, after="combine", until="dispatch_counts")
    together = [
        (one, other)
        for one, start, end in at_experts
        for other, begin, stop in elsewhere
        if one != other and begin < end and start < stop
    ]
    assert len(set(together)) >= 3, together


def stretches(result: RankResult, *, after: str, until: str) -> list[tuple[int, float, float]]:
    """(micro-batch, from, to) of the computing between two requests of one micro-batch."""
    found = []
    for index in range(3):
        own = [entry for entry in result.performed if entry.micro_batch == index]
        found += [
            (index, one.done_s, two.posted_s)
            for one, two in pairwise(own)
            if (one.name, two.name) == (after, until)
        ]
    return found


def test_sequences_follow_their_own_tokens(subjects: dict[str, Subject], pool: Pool) -> None:
    subject = subjects["gpt_oss"]
    job = replace(make_job(subject, "dp2.pp2/ep2", 2), forced=None)
    assert worst_difference(subject, job, pool.run(job)) <= TOLERANCE


def test_bf16_is_sent_in_half_the_bytes(subjects: dict[str, Subject], pool: Pool) -> None:
    job = make_job(subjects["qwen3_moe"], "tp2.dp2/ep2.etp2", 2, num_tokens=1)
    full, half = (pool.run(replace(job, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16))

    for name in ("embedding_sum", "attention_sum", "experts_sum"):
        assert num_bytes(full, name) == 2 * num_bytes(half, name) > 0
    assert num_bytes(full, "logits_gather") == num_bytes(half, "logits_gather")


def num_bytes(results: list[RankResult], name: str) -> int:
    return sum(entry.payload_bytes for result in results for entry in result.performed if entry.name == name)


def test_it_reads_its_own_bytes_alone(subjects: dict[str, Subject], pool: Pool) -> None:
    subject = subjects["qwen3_moe"]
    whole = sum(file.stat().st_size for file in subject.folder.glob("*.safetensors"))
    results = pool.run(make_job(subject, "tp2.dp4/ep4.etp2", 1, num_tokens=1))
    assert max(result.bytes_read for result in results) < 0.5 * whole


def test_a_layout_of_more_ranks_than_workers_is_refused(subjects: dict[str, Subject], pool: Pool) -> None:
    with pytest.raises(InputError, match="at most 8 ranks"):
        pool.run(make_job(subjects["qwen3_moe"], "tp2.dp2.pp4/ep4", 1))


# --- a rank is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (signal.SIGKILL, r"its process ended \(signal 9\)"),
        pytest.param(signal.SIGSTOP, "it hangs", marks=pytest.mark.slow),
    ],
)
def test_a_lost_rank_is_named_and_none_is_left(
    sent: signal.Signals, reason: str, subjects: dict[str, Subject], pool: Pool
) -> None:
    lost_s, pids = 0.0, []

    def told(rank: int, doing: str) -> None:
        nonlocal lost_s, pids
        if not lost_s and rank == 5 and "layer 2" in doing:
            lost_s, pids = time.monotonic(), pool.pids
            os.kill(pids[rank], sent)

    with pytest.raises(RankError, match=reason) as caught:
        pool.run(make_job(subjects["qwen3_moe"], "tp2.pp2+ep4.shared", 2), told)
    assert (caught.value.rank, caught.value.role) == (5, "experts of stage 0, 1")
    assert "step 0, micro-batch" in caught.value.doing
    assert gone(pids)
    assert time.monotonic() - lost_s < LIMIT_S


def test_a_corrupt_tensor_names_the_rank_that_reads_it(
    subjects: dict[str, Subject], pool: Pool, tmp_path: Path
) -> None:
    subject = subjects["qwen3_moe"]
    job = replace(make_job(subject, "dp2.pp2/ep2", 1), folder=tmp_path)
    name = "model.layers.3.mlp.experts.7.down_proj.weight"  # of the last stage's second expert rank
    (tmp_path / "config.json").write_text((subject.folder / "config.json").read_text())
    tensors = load_file(subject.folder / "model.safetensors")
    save_file({**tensors, name: tensors[name][:-1].clone()}, tmp_path / "model.safetensors")
    start = time.monotonic()
    with pytest.raises(RankError, match=name) as caught:
        pool.run(job)
    assert (caught.value.rank, caught.value.doing, caught.value.exit_code) == (3, "reading its weights", 2)
    assert pool.pids == []
    assert time.monotonic() - start < LIMIT_S


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["missing", "pickled", "cut short"])
def test_a_wrong_checkpoint_ends_every_rank(
    wrong: str, subjects: dict[str, Subject], pool: Pool, tmp_path: Path
) -> None:
    subject = subjects["qwen3_moe"]
    job = replace(make_job(subject, "dp2.pp2/ep2", 1), folder=tmp_path)
    (tmp_path / "config.json").write_text((subject.folder / "config.json").read_text())
    whole = subject.folder / "model.safetensors"
    name = "model.layers.0.mlp.gate_proj.weight"
    if wrong == "missing":
        save_file({key: t for key, t in load_file(whole).items() if key != name}, tmp_path / whole.name)
    elif wrong == "pickled":
        torch.save(load_file(whole), tmp_path / "pytorch_model.bin")
    else:
        (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-1000])
    start = time.monotonic()
    message = {"missing": name, "pickled": "pickled weights can run code", "cut short": "whole safetensors"}
    with pytest.raises(RankError, match=message[wrong]) as caught:
        pool.run(job)
    assert (caught.value.doing, caught.value.exit_code) == ("reading its weights", 2)
    assert pool.pids == []
    assert time.monotonic() - start < LIMIT_S


@dataclass(frozen=True, kw_only=True)
class OneForgets(Seats):
    """Rank 1 believes that the last layer is not its own."""

    def seat(self, rank: int) -> Seat:
        seat = super().seat(rank)
        if rank != 1:
            return seat
        return replace(seat, seats=replace(self, stage_layers=(self.stage_layers[0] - 1,)))


@pytest.mark.slow
def test_ranks_that_disagree_do_not_wait_for_ever(subjects: dict[str, Subject], pool: Pool) -> None:
    job = make_job(subjects["llama"], "tp2", 1)
    told = OneForgets(model=job.seats.model, layout=job.seats.layout, stage_layers=job.seats.stage_layers)
    start = time.monotonic()
    with pytest.raises(RankError, match=r"rank [01] .attention.*step 0, micro-batch 0, in all_"):
        pool.run(replace(job, seats=told))
    assert time.monotonic() - start < LIMIT_S


def run_for_ever(job: Job, pipe: Connection) -> None:
    """A parent with workers of its own, in the middle of a job."""
    with Pool(4) as pool:
        pool.run(job, lambda rank, doing: pipe.send(pool.pids) if "layer 2" in doing else None)


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(subjects: dict[str, Subject]) -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe()
    job = make_job(subjects["qwen3_moe"], "tp2.dp2/ep4", 2)
    parent = context.Process(target=run_for_ever, args=(job, theirs))
    parent.start()
    theirs.close()
    pids = ours.recv()
    os.kill(parent.pid or 0, signal.SIGKILL)
    parent.join()
    wait_until_gone(pids, LIMIT_S)
