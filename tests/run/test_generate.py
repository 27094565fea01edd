"""What a layout generates is what the unsharded model generates; and what is recorded of it is right."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from transformers import AutoModelForCausalLM

from shardwright.errors import InputError
from shardwright.layout.notation import parse_layout
from shardwright.plan.generation import Generation, Sampling
from shardwright.run.checkpoint import reference_model
from shardwright.run.generate import Asked, generation_job, generation_of, timing
from shardwright.run.perform import perform_here
from shardwright.run.text import Text, read_stop
from shardwright.run.tiny import byte_tokenizer
from tests.run.conftest import change

TEXTS = ("To be, or not", "à bientôt", "日本 😀", "x", "what is the question?")
NUM_TOKENS = 8
DRAWN = Sampling(temperature=0.8, top_k=60, top_p=0.95, seed=11)


def asked(folder: Path, **how: object) -> Asked:
    stated = {"texts": TEXTS, "num_tokens": NUM_TOKENS, **how}
    return Asked(folder=folder, checkpoint=folder.name, random_weights=True, **stated)


def generate(folder: Path, layout: str, **how: object) -> Generation:
    """In this process."""
    question = asked(folder, **how)
    job = generation_job(parse_layout(layout), question)
    return generation_of(job, perform_here(job), question, "in-process")


def tokens(found: Generation) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in found.answers]


# --- the same tokens as the unsharded model --------------------------------------------------------


def generated_by_transformers(folder: Path) -> list[tuple[int, ...]]:
    """Each prompt by itself, by the library's own loop, which ends with the stop token."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True), byte_tokenizer()
    found = []
    for text in TEXTS:
        prompt = torch.tensor([tokenizer.encode(text).ids])
        mask = torch.ones_like(prompt)
        with torch.no_grad():
            ids = model.generate(prompt, attention_mask=mask, do_sample=False, max_new_tokens=NUM_TOKENS)
        found.append(tuple(ids[0, prompt.shape[1] :].tolist()))
    return found


@pytest.mark.parametrize(
    ("family", "layouts"),
    [
        ("llama", [("tp4.pp2", {"near_ranks": 2})]),
        ("qwen3_moe", [("tp2.dp2.pp2/ep4", {"chunk_tokens": 4})]),
        ("gpt_oss", [("dp2.pp2/ep2", {"micro_batches": 2, "batched": True})]),
        pytest.param("deepseek_v3", [("tp2.dp2/ep2.etp2", {})], marks=pytest.mark.slow),
        pytest.param("olmoe", [("tp4/ep4", {})], marks=pytest.mark.slow),
        pytest.param("qwen3", [("tp4.pp2", {"micro_batches": 1})], marks=pytest.mark.slow),
        pytest.param("deepseek_v2", [("dp4/ep4", {"batched": True})], marks=pytest.mark.slow),
    ],
)
def test_greedy_tokens_are_those_of_transformers(
    family: str, layouts: list[tuple[str, dict[str, object]]], made: Path
) -> None:
    expected = generated_by_transformers(made / family)
    assert len(set(expected)) == len(TEXTS)
    for layout, how in layouts:
        assert tokens(generate(made / family, layout, **how)) == expected, layout


def test_drawn_tokens_are_those_of_the_unsharded_model(made: Path) -> None:
    """Its logits are those of whole sequences without a cache; the draw is written out anew."""
    folder = made / "mixtral"
    model, tokenizer, expected = reference_model(folder), byte_tokenizer(), []
    for sequence, text in enumerate(TEXTS):
        ids = tokenizer.encode(text).ids
        for place in range(NUM_TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1].double()
            ids.append(draw(logits / DRAWN.temperature, sequence, place))
            if ids[-1] == 2:
                break
        expected.append(tuple(ids[len(tokenizer.encode(text).ids) :]))
    for layout in ("tp2.dp2/ep4", "tp2.pp2+ep4.shared"):
        assert tokens(generate(folder, layout, sampling=DRAWN)) == expected, layout


def draw(logits: torch.Tensor, sequence: int, place: int) -> int:
    """top-k 60, then top-p 0.95; each token of the vocabulary has a clock, -log u / p."""
    uniform = np.random.default_rng((11, sequence, place)).random(len(logits))
    ranked = sorted(range(len(logits)), key=lambda token: -float(logits[token]))[:60]
    weights = {token: float(logits[token].exp()) for token in ranked}
    kept, mass = [], 0.0
    for token in ranked:
        if mass < 0.95 * sum(weights.values()):
            kept.append(token)
        mass += weights[token]
    return min(kept, key=lambda token: -math.log(uniform[token]) / weights[token])


# --- the stop token --------------------------------------------------------------------------------


def test_an_answer_ends_with_the_first_stop_token(llama: Path) -> None:
    whole = generate(llama, "tp2")
    ends = {answer.tokens[3] for answer in whole.answers[:2]}
    change(llama, "generation_config.json", eos_token_id=sorted(ends))
    found = generate(llama, "tp2")
    for before, after in zip(whole.answers, found.answers, strict=True):
        end = next((place for place, token in enumerate(before.tokens) if token in ends), None)
        assert after.tokens == before.tokens[: None if end is None else end + 1]
        assert after.finished_by == ("length" if end is None else "stop")
        assert after.text == byte_tokenizer().decode(list(before.tokens[:end]))
    assert {answer.finished_by for answer in found.answers} == {"length", "stop"}


def test_a_job_ends_when_all_its_sequences_have(llama: Path) -> None:
    (answer,) = generate(llama, "tp2", texts=TEXTS[:1]).answers
    change(llama, "generation_config.json", eos_token_id=answer.tokens[2])
    found = generate(llama, "tp2", texts=TEXTS[:1])
    assert found.answers[0].tokens == answer.tokens[: answer.tokens.index(answer.tokens[2]) + 1]
    assert found.measured.num_decode_steps == len(found.answers[0].tokens) - 1


def test_where_the_stop_tokens_stand(llama: Path) -> None:
    assert read_stop(llama) == {2}
    change(llama, "generation_config.json", eos_token_id=[7, 9])
    assert read_stop(llama) == {7, 9}
    change(llama, "generation_config.json", eos_token_id=None)
    assert read_stop(llama) == {2}
    (llama / "generation_config.json").unlink()
    change(llama, "config.json", eos_token_id=None)
    assert read_stop(llama) == frozenset()
    change(llama, "config.json", eos_token_id="</s>")
    with pytest.raises(InputError, match="eos_token_id"):
        read_stop(llama)


# --- text ------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_text_comes_back(made: Path, written: str) -> None:
    text = Text(made / "llama")
    assert text.decode(text.encode(written)) == written


def test_what_the_tokenizer_adds_is_added_and_what_it_would_cut_is_not(llama: Path) -> None:
    tokenizer = Tokenizer.from_file(str(llama / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(llama / "tokenizer.json"))
    text = Text(llama)
    assert text.encode("hi there") == [1, *byte_tokenizer().encode("hi there").ids]
    assert text.decode(text.encode("hi there")) == "hi there"


def test_token_ids_do_without_a_tokenizer(llama: Path) -> None:
    with_it = generate(llama, "tp2", texts=(), ids=[[5, 6, 7]])
    (llama / "tokenizer.json").unlink()
    found = generate(llama, "tp2", texts=(), ids=[[5, 6, 7]])
    assert found.answers == (with_it.answers[0].model_copy(update={"text": None}),)
    assert found.answers[0].prompt is None and found.answers[0].prompt_tokens == (5, 6, 7)
    with pytest.raises(InputError, match="--prompt-ids '1,2,3'"):
        generate(llama, "tp2")


# --- what is recorded ------------------------------------------------------------------------------


def test_bytes_of_a_dense_model_by_hand(made: Path) -> None:
    """tp2.pp2 of llama: hidden 64, 4 layers, vocabulary 264, fp32; one prompt of 3 tokens, 4 generated."""
    found = generate(made / "llama", "tp2.pp2", texts=("abc",), num_tokens=4)
    rows, steps, row_bytes = 3 + 1 + 1 + 1, 4, 64 * 4
    assert {(row.name, row.count, row.bytes) for row in found.collectives} == {
        ("embedding_sum", 2 * steps, 2 * rows * row_bytes),  # by the two ranks of the first stage
        ("attention_sum", 2 * steps * 4, 2 * rows * row_bytes * 4),  # by two ranks in each of 4 layers
        ("mlp_sum", 2 * steps * 4, 2 * rows * row_bytes * 4),
        ("stage", 4 * steps, 4 * rows * row_bytes),  # sent by two, received by two
        ("logits_gather", 2 * steps, 2 * steps * 264 * 4),  # the last token alone
    }
    # Keys and values of 2 layers, 4 heads over 2 ranks, head_dim 8, and all tokens but the last.
    assert {rank.kv_bytes for rank in found.ranks} == {2 * 2 * 2 * 8 * 4 * rows}
    assert [(rank.role, rank.stages) for rank in found.ranks] == [("attention", (i // 2,)) for i in range(4)]


def test_bytes_of_an_exchange_by_hand(made: Path) -> None:
    """dp2/ep2 of mixtral: each rank sends its tokens' two rows, and takes those for experts 0-3 or 4-7."""
    question = asked(made / "mixtral", texts=("abc", "defgh"), num_tokens=3, micro_batches=1)
    job = generation_job(parse_layout("dp2/ep2"), question)
    results = perform_here(job)
    busier = 0
    for key in results[0].routed:
        chosen = [result.routed[key] for result in results]
        for rank in range(2):
            taken = sum(int((ids // 4 == rank).sum()) for ids in chosen)
            busier += max(chosen[rank].size, taken)
    found = {row.name: row for row in generation_of(job, results, question, "in-process").collectives}
    assert set(found) == {"dispatch", "combine"}
    assert found["dispatch"].bytes == found["combine"].bytes == busier * 64 * 4
    assert found["dispatch"].count == 2 * 3 * 4


def test_times_are_those_of_the_steps() -> None:
    found = timing([10.0, 10.5, 11.5, 11.75, 12.25, 15.5], 2, 11)
    assert found.ttft_s == 1.5 and found.num_prefill_steps == 2 and found.num_decode_steps == 3
    assert (found.tpot_median_s, found.tpot_max_s) == (0.5, 3.25)
    assert found.throughput_tokens_per_s == 2.0
    alone = timing([1.0, 2.0], 1, 4)
    assert (alone.tpot_median_s, alone.throughput_tokens_per_s) == (None, 4.0)


def test_micro_batches_follow_the_prompts(made: Path) -> None:
    def number(layout: str, texts: tuple[str, ...]) -> int:
        job = generation_job(parse_layout(layout), asked(made / "mixtral", texts=texts))
        return job.num_micro_batches

    assert number("dp2/ep2", TEXTS[:4]) == 2
    assert number("dp2/ep2", TEXTS[:3]) == 1
    with pytest.raises(InputError, match="at least 2"):
        number("dp2/ep2", TEXTS[:1])


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"texts": ("",)}, "prompt"),
        ({"texts": ("half \udcff",)}, "prompt"),
        ({"texts": (), "ids": [[264]]}, "below 264"),
        ({"num_tokens": 256}, "at most 243"),
        ({"texts": ("x" * 300,)}, "a prompt has 300"),
        ({"micro_batches": 6}, "at least 6"),
        ({"near_ranks": 3}, "near_ranks"),
    ],
)
def test_bad_input_is_named(how: dict[str, object], message: str, made: Path) -> None:
    with pytest.raises(InputError, match=message):
        generation_job(parse_layout("tp2"), asked(made / "llama", **how))


def test_a_tokenizer_that_cannot_be_read(llama: Path) -> None:
    (llama / "tokenizer.json").write_text(json.dumps({"model": "pickle"}))
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Text(llama)
