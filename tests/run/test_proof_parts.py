"""What the proof's own prompts do not reach: other lengths, prompts in chunks, bf16."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache

from shardwright.layout.notation import parse_layout
from shardwright.run.ledger import with_expected
from shardwright.run.prove import NOISE_MULTIPLE, holds_its_weights, keeps_its_kv, prove_subject, seat_players
from shardwright.run.session import Player, play_step
from shardwright.run.subject import NUM_STEPS, Expected, Subject
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
def test_lengths_from_one_token_on(
    family: str, subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """19 tokens beside 1, over tp, pp and wide or split experts: padding takes no part in any answer."""
    subject, generator = subjects[family], torch.Generator().manual_seed(5)
    tolerance = NOISE_MULTIPLE * subject.noise
    prompts = [torch.randint(3, 260, (n,), generator=generator).tolist() for n in (1, 19, 2, 3)]
    monkeypatch.setattr(subject, "prompts", lambda number: prompts)
    moe = subject.model.experts is not None
    for text in ("tp2.dp2.pp2/etp4", "tp2.dp2.pp2/ep4.r1") if moe else ("tp4.pp2.x2",):
        players = seat_players(parse_layout(text), subject, 1)
        rows = play_step(players, 0)
        assert sorted(rows) == [0, 1, 2, 3]
        for index, prompt in enumerate(prompts):
            gap = (rows[index] - unsharded(subject, prompt)).abs().max()
            assert gap <= tolerance, (text, index)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_in_chunks_gives_the_same_answer(family: str, subjects: dict[str, Subject]) -> None:
    """Chunks of 3, 1 and the rest: a step may bring any number of tokens to a cache of any length."""
    subject = subjects[family]
    text = "tp2.dp2.pp2+ep3.shared" if subject.model.experts is not None else "tp2.pp2.x2"
    players = seat_players(parse_layout(text), subject, 2)
    whole = {
        (player.rank.seat.rank, index): batch.tokens_BS
        for player in players
        for index, batch in enumerate(player.batches)
    }
    rows: dict[int, Tensor] = {}
    for step, chunk in enumerate((slice(0, 3), slice(3, 4), slice(4, None))):
        for player in players:
            for index, batch in enumerate(player.batches):
                if player.rank.seat.place.dp is not None:
                    batch.feed(whole[player.rank.seat.rank, index][:, chunk])
        rows = play_step(players, step)
        for player in players:
            for batch in player.batches:
                batch.advance()
    assert sorted(rows) == list(range(8))
    for index, row in rows.items():
        assert (row - subject.expected(index).logits[0]).abs().max() <= NOISE_MULTIPLE * subject.noise


@pytest.mark.parametrize(("family", "layout"), [("llama", "tp2"), ("deepseek_v3", "tp2/ep2")])
def test_weights_of_16_bits_are_proved_in_fp32(family: str, layout: str, made: Path, tmp_path: Path) -> None:
    """As the checkpoints of the hub are: the graph's bytes are of what is executed, not of what is stored."""
    folder = Path(shutil.copytree(made / family, tmp_path / family))
    change(folder, "config.json", dtype="bfloat16")
    stored = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    proof = prove_subject(parse_layout(layout), Subject(family, folder))
    assert (proof.dtype, proof.failures) == ("float32", ())
    assert all(row.recorded_bytes % 4 == 0 < row.recorded_bytes for row in proof.collectives)


ROUNDING_MULTIPLE = 2.0
"""Tolerance in bf16, in units of how far the unsharded model in bf16 is from itself in fp32.

Its split noise, the unit in fp32, is 0 in bf16 on a CPU: a batch and its sequences one by one round alike.
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_stays_within_its_own_rounding(
    family: str, made: Path, tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    """Of sequences whose tokens chose the experts of the unsharded model: near ties fall either way."""
    folder = Path(shutil.copytree(made / family, tmp_path / family))
    change(folder, "config.json", dtype="bfloat16")
    half, full = Subject(family, folder, dtype=torch.bfloat16), subjects[family]
    text = "tp2.dp2.pp2/ep2.etp2" if full.model.experts is not None else "tp2.pp2.x2"
    players = seat_players(parse_layout(text), half, 2)
    strayed: set[int] = set()
    worst = 0.0
    for step in range(NUM_STEPS):
        rows = play_step(players, step)
        strayed |= {i for player in players for i in strays(player, half, step)}
        for i in rows.keys() - strayed:
            worst = max(worst, float((rows[i].float() - half.expected(i).logits[step]).abs().max()))
        for player in players:
            player.feed({i: half.expected(i).tokens[step] for i in rows})
    alike = [i for i in range(12) if chose_alike(half.expected(i), full.expected(i))]
    rounding = max(
        float((half.expected(i).logits[0] - full.expected(i).logits[0]).abs().max()) for i in alike
    )
    assert half.noise == 0
    assert len(strayed) <= 4  # of 8
    assert 1e-3 < worst <= ROUNDING_MULTIPLE * rounding
    assert worst < 0.2  # logits deviate by 1.2 to 1.4
    assert all(holds_its_weights(player) and keeps_its_kv(player) for player in players)


def strays(player: Player, subject: Subject, step: int) -> Iterator[int]:
    """Sequences of which a token chose other experts than in the unsharded model."""
    for (at, index, layer), ran in player.rank.routed.items():
        if at == step:
            expected = with_expected(ran, player, subject, step, index, layer)
            share = player.shares[index]
            differs = (ran.sort(-1).values != expected.sort(-1).values).view(len(share), -1).any(1)
            yield from (sequence for sequence, other in zip(share, differs, strict=True) if other)


def chose_alike(one: Expected, other: Expected) -> bool:
    """Whether a prompt's tokens choose the same experts in both."""
    pairs = [(one.routed[key], other.routed[key]) for key in one.routed if key[0] == 0]
    return all(torch.equal(a.sort(-1).values, b.sort(-1).values) for a, b in pairs)
