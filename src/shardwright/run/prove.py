"""The proof: a layout executed beside the unsharded model, on the same checkpoint and prompts.

Compared are the logits of the last token of every sequence after the prefill and after each decode step
(teacher forcing with the unsharded model's greedy tokens), the experts that every token chose, the bytes
of every collective against the rank program rebuilt with that routing, and the weight and KV bytes of
every rank against the sharding rules and the KV rule of the memory model.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence

import torch

from shardwright import __version__
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.layout.shards import rank_shards
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.weights import weights
from shardwright.plan.proof import FamilyProof, Proof, Trial
from shardwright.run.job import Job, RankResult, seats_of
from shardwright.run.ledger import Ledger, as_it_ran, as_unsharded, strayed
from shardwright.run.perform import Perform, perform_here
from shardwright.run.subject import NUM_TOKENS, Subject

SEQUENCES = 2
"""Of each micro-batch of each dp rank: two, mostly of unequal length."""

MOST_STRAYED = 0.75
"""Share of sequences that may choose other experts in bf16, where near ties fall either way.

Of tiny models, whose experts score alike, up to half do so when the unsharded model is rounded to bf16.
"""


def prove_layout(
    layout: Layout,
    subjects: Iterable[Subject],
    trial: Trial = Trial(),  # noqa: B008 - frozen
    *,
    perform: Perform = perform_here,
    mode: str = "in-process",
    progress: Callable[[str], None] = lambda name: None,
) -> Proof:
    """Prove a layout on checkpoints. progress: told the name of each.

    A model without experts takes the attention part of the layout, its dp as copies. Raises InputError
    where a model cannot be split so, naming the rule of our runtime that it breaks.
    """
    start, proved = time.perf_counter(), []
    for subject in subjects:
        progress(subject.name)
        proved.append(prove_subject(layout, subject, trial, perform=perform))
    families = tuple(proved)
    text = format_layout(layout)
    return Proof(
        tool_version=__version__,
        layout=text,
        layout_hash=hashlib.sha256(text.encode()).hexdigest(),
        mode=mode,
        families=families,
        passed=all(family.passed for family in families),
        seconds=time.perf_counter() - start,
    )


def prove_subject(
    layout: Layout,
    subject: Subject,
    trial: Trial = Trial(),  # noqa: B008 - frozen
    *,
    perform: Perform = perform_here,
) -> FamilyProof:
    """Execute one checkpoint under the layout and hold it against its unsharded run."""
    own = layout if subject.model.experts is not None else dense_part(layout)
    job = proof_job(own, subject, trial)
    return judge(job, perform(job), subject, trial)


def proof_job(layout: Layout, subject: Subject, trial: Trial) -> Job:
    """What a proof executes. Raises InputError where the runtime cannot split the model so."""
    prompts = subject.prompts(SEQUENCES * trial.micro_batches * layout.dp * layout.copies)
    return Job(
        folder=subject.folder,
        seats=seats_of(layout, subject.model, trial.near_ranks),
        prompts=tuple(prompts),
        num_micro_batches=trial.micro_batches,
        num_tokens=NUM_TOKENS,
        forced=tuple(
            {i: subject.expected(i).tokens[place] for i in range(len(prompts))} for place in range(NUM_TOKENS)
        ),
        chunk_tokens=trial.chunk_tokens,
        batched=trial.batched,
        dtype=subject.dtype,
    )


def judge(job: Job, results: Sequence[RankResult], subject: Subject, trial: Trial) -> FamilyProof:
    """What the ranks handed back, held against the unsharded model and the models of bytes."""
    first_stray: dict[int, int] = {}
    expected = [as_unsharded(job, result, subject) for result in results]
    for sequence, step in sorted(strayed(job, results, expected), key=lambda stray: -stray[1]):
        first_stray[sequence] = step
    exact, worst, greedy = subject.dtype == torch.float32, 0.0, True
    for result in results:
        for place, rows in enumerate(result.logits):
            for sequence, logits in rows.items():
                if not exact and first_stray.get(sequence, job.num_steps) < place + job.num_prefills:
                    continue
                alone, row = subject.expected(sequence), torch.from_numpy(logits)
                worst = max(worst, float((row - alone.logits[place]).abs().max()))
                greedy &= int(row.argmax()) == alone.tokens[place]
    # In bf16 near ties fall either way: bytes are held against the routing that occurred.
    ledger = Ledger(job, results, expected if exact else [as_it_ran(result) for result in results])
    weights_equal = all(holds_its_weights(job, result) for result in results)
    kv_equal = all(keeps_its_kv(job, result) for result in results)
    many = len(first_stray) > (0 if exact else MOST_STRAYED * len(job.prompts))
    checks = {
        f"logits differ by {worst:.2e}, more than {subject.tolerance:.2e}": worst <= subject.tolerance,
        "greedy tokens differ": greedy or not exact,
        f"tokens of {len(first_stray)} sequences chose other experts": not many,
        f"bytes of collectives differ from the graph: {ledger.first_difference}": ledger.equal,
        "weights of a rank differ from the sharding rules": weights_equal,
        "KV bytes of a rank differ from the memory model": kv_equal,
    }
    return FamilyProof(
        family=subject.model.family,
        checkpoint=subject.name,
        layout=format_layout(job.seats.layout),
        seed=subject.seed,
        dtype=str(subject.dtype).removeprefix("torch."),
        num_sequences=len(job.prompts),
        num_steps=job.num_steps,
        trial=trial,
        noise=subject.noise,
        tolerance=subject.tolerance,
        largest_difference=worst,
        greedy_equal=greedy,
        strayed_sequences=len(first_stray),
        collectives=ledger.rows(),
        bytes_equal=ledger.equal,
        weights_equal=weights_equal,
        kv_equal=kv_equal,
        failures=tuple(sentence for sentence, holds in checks.items() if not holds),
    )


def dense_part(layout: Layout) -> Layout:
    """What a layout means for a model without experts: its attention part, dp ranks as copies."""
    copies = layout.copies * layout.dp
    return Layout(tp=layout.tp, pp=layout.pp, copies=copies, stage_layers=layout.stage_layers)


def holds_its_weights(job: Job, result: RankResult) -> bool:
    """Whether the rank loaded exactly the elements that the sharding rules give it."""
    seats = job.seats
    shards = rank_shards(weights(seats.model), seats.grid, seats.stage_layers, result.rank)
    return sum(shard.num_elements for shard in shards) == result.num_loaded


def keeps_its_kv(job: Job, result: RankResult) -> bool:
    """Whether the rank keeps the KV of its layers, heads and sequences, padding included, and no more."""
    seat, model = job.seats.seat(result.rank), job.seats.model
    has_kv = seat.role != "experts" and seat.place.stage is not None
    num_layers = len(seat.layers(seat.place.stage or 0)) if has_kv else 0
    values = kv_bytes_per_token_per_layer_per_rank(model, seat.layout.tp) / model.kv_bytes
    last = [share.shape(job.num_steps - 1) for share in job.shares(result.rank)]
    tokens = sum(sequences * (num_tokens + past) for sequences, num_tokens, past in last)
    return result.kv_bytes == values * num_layers * tokens * job.dtype.itemsize
