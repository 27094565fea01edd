"""Generation: from prompts to a job, and from what its ranks hand back to the record of a run."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import transformers

from shardwright import __version__
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.model.hf import read_config
from shardwright.model.spec import ModelSpec
from shardwright.plan.generation import Answer, Generation, Mode, RankTotal, Sampling, Timing, Traffic
from shardwright.plan.proof import Trial
from shardwright.run.job import Job, RankResult, seats_of
from shardwright.run.ledger import CONTROL
from shardwright.run.machine import device_name
from shardwright.run.prove import dense_part
from shardwright.run.sampling import GREEDY
from shardwright.run.share import Prompt
from shardwright.run.text import Text, read_stop

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

MICRO_BATCHES = 2
"""Where none are asked for and there are prompts enough."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to generate, with which checkpoint, and how.

    checkpoint: what its folder is called; random_weights: it is a tiny one. texts, ids: the prompts, as
    text and after these as token ids. micro_batches: None for two, or one where prompts are too few.
    """

    folder: Path
    checkpoint: str
    random_weights: bool
    texts: Sequence[str] = ()
    ids: Sequence[Prompt] = ()
    num_tokens: int
    sampling: Sampling = GREEDY
    micro_batches: int | None = None
    near_ranks: int = 1
    chunk_tokens: int | None = None
    batched: bool = False
    dtype: Literal["fp32", "bf16"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"


def generation_job(layout: Layout, asked: Asked) -> Job:
    """What a layout has to do; for a model without experts, its attention part.

    Raises InputError for a folder that holds no model, a layout that cannot split it, a prompt that is
    empty, too long or no text of the model's, and for fewer prompts than micro-batches.
    """
    model = read_config(asked.folder, name="the checkpoint").model_copy(update={"weight_dtype": asked.dtype})
    own = layout if model.experts is not None else dense_part(layout)
    seats = seats_of(own, model, asked.near_ranks)
    text = Text(asked.folder)
    prompts = (*map(text.encode, asked.texts), *asked.ids)
    for prompt in prompts:
        _check(prompt, model, asked.num_tokens)
    most = max(1, len(prompts) // (own.copies * own.dp))
    job = Job(
        folder=asked.folder,
        seats=seats,
        prompts=prompts,
        num_micro_batches=asked.micro_batches or min(MICRO_BATCHES, most),
        num_tokens=asked.num_tokens,
        sampling=asked.sampling,
        stop=read_stop(asked.folder),
        chunk_tokens=asked.chunk_tokens,
        batched=asked.batched,
        keeps_logits=False,
        dtype=DTYPES[asked.dtype],
        device=asked.device,
    )
    job.shares(0)  # raises for too few prompts, before any rank starts
    return job


def generation_of(job: Job, results: Sequence[RankResult], asked: Asked, mode: Mode) -> Generation:
    """The record of a job that is done."""
    text, given = Text(job.folder), (*asked.texts, *[None] * len(asked.ids))
    answers = tuple(
        _answer(prompt, tokens, results[0].tokens[sequence], job.stop, text)
        for sequence, (prompt, tokens) in enumerate(zip(given, job.prompts, strict=True))
    )
    return Generation(
        tool_version=__version__,
        torch_version=torch.__version__,
        transformers_version=transformers.__version__,
        layout=format_layout(job.seats.layout),
        mode=mode,
        checkpoint=asked.checkpoint,
        random_weights=asked.random_weights,
        dtype=asked.dtype,
        device=device_name(torch.device(job.device)),
        sampling=job.sampling,
        trial=Trial(
            micro_batches=job.num_micro_batches,
            near_ranks=job.seats.near_ranks,
            chunk_tokens=job.chunk_tokens,
            batched=job.batched,
        ),
        answers=answers,
        measured=timing(results[0].steps_s, job.num_prefills, sum(len(answer.tokens) for answer in answers)),
        ranks=tuple(_rank(job, result) for result in results),
        collectives=traffic(results),
    )


def timing(steps_s: Sequence[float], num_prefills: int, num_tokens: int) -> Timing:
    """steps_s: when each step began, and the end of the last."""
    decode_s = [after - before for before, after in pairwise(steps_s[num_prefills:])]
    return Timing(
        ttft_s=steps_s[num_prefills] - steps_s[0],
        tpot_median_s=statistics.median(decode_s) if decode_s else None,
        tpot_max_s=max(decode_s, default=None),
        throughput_tokens_per_s=num_tokens / (steps_s[-1] - steps_s[0]),
        num_prefill_steps=num_prefills,
        num_decode_steps=len(decode_s),
    )


def traffic(results: Sequence[RankResult]) -> tuple[Traffic, ...]:
    """Totals of every kind of collective, by name."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for result in results:
        for entry in result.performed:
            if entry.name not in CONTROL:
                sizes[entry.name].append(entry.payload_bytes)
    return tuple(
        Traffic(name=name, count=len(all_of), bytes=sum(all_of)) for name, all_of in sorted(sizes.items())
    )


def _check(prompt: Prompt, model: ModelSpec, num_tokens: int) -> None:
    """Raise InputError for token ids that the model lacks, and for more tokens than it has positions."""
    if not prompt or max(prompt) >= model.vocab:
        allowed = f"one token or more, with ids below {model.vocab}, the model's vocabulary"
        raise InputError("prompt", max(prompt, default=None), allowed)
    room = model.max_positions - len(prompt)
    if num_tokens > room:
        allowed = f"at most {room}: the model reads {model.max_positions}, and a prompt has {len(prompt)}"
        raise InputError("tokens", num_tokens, allowed)


def _answer(
    prompt: str | None, before: Prompt, generated: list[int], stop: frozenset[int], text: Text
) -> Answer:
    """What was generated up to the first token that stops it."""
    end = next((place for place, token in enumerate(generated) if token in stop), None)
    return Answer(
        prompt=prompt,
        prompt_tokens=tuple(before),
        tokens=tuple(generated if end is None else generated[: end + 1]),
        text=text.decode(generated[:end]),
        finished_by="length" if end is None else "stop",
    )


def _rank(job: Job, result: RankResult) -> RankTotal:
    seat = job.seats.seat(result.rank)
    return RankTotal(
        rank=result.rank,
        role=seat.role if job.seats.model.experts else "attention",
        stages=tuple(seat.stages),
        weight_bytes=result.weight_bytes,
        kv_bytes=result.kv_bytes,
        bytes_read=result.bytes_read,
    )
