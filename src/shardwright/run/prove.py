"""The proof: a layout executed beside the unsharded model, on the same checkpoint and prompts.

Compared are the logits of the last token of every sequence after the prefill and after each decode step
(teacher forcing with the unsharded model's greedy tokens), the experts that every token chose, the bytes
of every collective against the rank program rebuilt with that routing, and the weight and KV bytes of
every rank against the sharding rules and the KV rule of the memory model.
"""

import hashlib
import time
from collections.abc import Callable, Iterable

import torch

from shardwright import __version__
from shardwright.engine.engine import breaches
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.layout.shards import rank_shards
from shardwright.layout.stages import stage_counts
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.weights import weights
from shardwright.plan.proof import FamilyProof, Proof
from shardwright.run.ledger import Ledger, with_expected
from shardwright.run.modules import build_modules
from shardwright.run.program import Rank
from shardwright.run.seat import Seats
from shardwright.run.session import Player, deal, play_step
from shardwright.run.subject import NUM_STEPS, Subject

NOISE_MULTIPLE = 5.0
"""Tolerance of logits, in units of the model's own split noise."""

SEQUENCES = 2
"""Of each micro-batch of each dp rank: two, mostly of unequal length."""


def prove_layout(
    layout: Layout,
    subjects: Iterable[Subject],
    *,
    micro_batches: int = 2,
    progress: Callable[[str], None] = lambda name: None,
) -> Proof:
    """Prove a layout on checkpoints, one process playing every rank. progress: told the name of each.

    A model without experts takes the attention part of the layout, its dp as copies. Raises InputError
    where a model cannot be split so, naming the rule of our runtime that it breaks.
    """
    start, proved = time.perf_counter(), []
    for subject in subjects:
        progress(subject.name)
        proved.append(prove_subject(layout, subject, micro_batches=micro_batches))
    families = tuple(proved)
    text = format_layout(layout)
    return Proof(
        tool_version=__version__,
        layout=text,
        layout_hash=hashlib.sha256(text.encode()).hexdigest(),
        mode="in-process",
        families=families,
        passed=all(family.passed for family in families),
        seconds=time.perf_counter() - start,
    )


def prove_subject(layout: Layout, subject: Subject, *, micro_batches: int = 2) -> FamilyProof:
    """Execute one checkpoint under the layout and hold it against its unsharded run."""
    own = layout if subject.model.experts is not None else dense_part(layout)
    broken = breaches(SHARDWRIGHT_0_1, own, subject.model, None)
    if broken:
        allowed = f"a layout that {subject.name} can take: {broken[0].sentence}"
        raise InputError("layout", format_layout(own), allowed)
    prompts = subject.prompts(SEQUENCES * micro_batches * own.dp * own.copies)
    players = seat_players(own, subject, micro_batches)
    ledger = Ledger()
    worst, greedy, routed = 0.0, True, True
    for step in range(NUM_STEPS):
        for sequence, row in play_step(players, step, ledger.record).items():
            expected = subject.expected(sequence)
            worst = max(worst, float((row - expected.logits[step]).abs().max()))
            greedy &= int(row.argmax()) == expected.tokens[step]
        routed &= routed_alike(players, subject, step)
        ledger.close_step(players, subject, step)
        for player in players:
            player.feed({i: subject.expected(i).tokens[step] for i in range(len(prompts))})
    tolerance = NOISE_MULTIPLE * subject.noise
    weights_equal, kv_equal = all(map(holds_its_weights, players)), all(map(keeps_its_kv, players))
    checks = {
        f"logits differ by {worst:.2e}, more than {tolerance:.2e}": worst <= tolerance,
        "greedy tokens differ": greedy,
        "tokens chose other experts": routed,
        f"bytes of collectives differ from the graph: {ledger.first_difference}": ledger.equal,
        "weights of a rank differ from the sharding rules": weights_equal,
        "KV bytes of a rank differ from the memory model": kv_equal,
    }
    return FamilyProof(
        family=subject.model.family,
        checkpoint=subject.name,
        layout=format_layout(own),
        seed=subject.seed,
        dtype=str(subject.dtype).removeprefix("torch."),
        num_sequences=len(prompts),
        num_steps=NUM_STEPS,
        micro_batches=micro_batches,
        noise=subject.noise,
        tolerance=tolerance,
        largest_difference=worst,
        greedy_equal=greedy,
        routed_equal=routed,
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


def seat_players(layout: Layout, subject: Subject, micro_batches: int) -> list[Player]:
    """Every rank of the layout with its modules and its sequences."""
    model, device = subject.model, torch.device("cpu")
    seats = Seats(model=model, layout=layout, stage_layers=stage_counts(layout, model.num_layers))
    prompts = subject.prompts(SEQUENCES * micro_batches * layout.dp * layout.copies)
    dealt = deal(len(prompts), seats, micro_batches)
    players = []
    for number in range(layout.num_gpus):
        seat = seats.seat(number)
        modules = build_modules(seat, model, subject.config, subject.skeleton, subject.checkpoint, device)
        rank = Rank(seat=seat, model=model, modules=modules, device=device, dtype=subject.dtype)
        players.append(Player(rank, prompts, dealt))
    return players


def routed_alike(players: list[Player], subject: Subject, step: int) -> bool:
    """Whether every token chose the experts that it chooses in the unsharded model, in any order."""
    for player in players:
        for (at, index, layer), ran in player.rank.routed.items():
            if at == step:
                expected = with_expected(ran, player, subject, step, index, layer)
                if not torch.equal(ran.sort(-1).values, expected.sort(-1).values):
                    return False
    return True


def holds_its_weights(player: Player) -> bool:
    """Whether the rank loaded exactly the elements that the sharding rules give it."""
    seats = player.rank.seat.seats
    shards = rank_shards(weights(seats.model), seats.grid, seats.stage_layers, player.rank.seat.rank)
    return sum(shard.num_elements for shard in shards) == player.rank.modules.num_loaded


def keeps_its_kv(player: Player) -> bool:
    """Whether the rank keeps the KV of its layers, heads and sequences, padding included, and no more."""
    seat, model = player.rank.seat, player.rank.model
    has_kv = seat.role != "experts" and seat.place.stage is not None
    num_layers = len(seat.layers(seat.place.stage or 0)) if has_kv else 0
    values = kv_bytes_per_token_per_layer_per_rank(model, seat.layout.tp) / model.kv_bytes
    tokens = sum(batch.shape[0] * batch.past for batch in player.batches)
    return player.kv_bytes == values * num_layers * tokens * player.rank.dtype.itemsize
