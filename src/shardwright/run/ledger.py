"""The collectives of a run as they were recorded, beside the same rebuilt from the rank program."""

from collections import defaultdict

from torch import Tensor

from shardwright.plan.proof import Collective
from shardwright.run.in_process import Key
from shardwright.run.network import Request
from shardwright.run.rebuild import Choices, Routing, Sent, rebuilt
from shardwright.run.session import Player
from shardwright.run.subject import Subject

CONTROL = frozenset({"dispatch_counts", "lane_sizes"})
"""Traffic that tells sizes, not part of the graph: its bytes do not depend on the tokens."""


class Ledger:
    """Every collective of every rank and micro-batch; compared step by step, in order."""

    def __init__(self) -> None:
        self._open: dict[Key, list[Sent]] = defaultdict(list)
        self._recorded: list[Sent] = []
        self._rebuilt: list[Sent] = []
        self.first_difference = ""

    @property
    def equal(self) -> bool:
        """Whether all steps so far were as rebuilt."""
        return not self.first_difference

    def record(self, key: Key, request: Request) -> None:
        """The hook of an interpreter."""
        if request.name not in CONTROL:
            self._open[key].append(Sent(request.name, request.layer, request.payload_bytes))

    def close_step(self, players: list[Player], subject: Subject, step: int) -> None:
        """Rebuild the step that was just played, before its tokens are fed, and compare."""
        for index in range(len(players[0].batches)):
            routing = Routing(players[0].rank.seat.seats, _choices(players, subject, step, index))
            for player in players:
                key = (player.rank.seat.rank, index)
                expected = list(rebuilt(player.rank.seat, player.batches[index], routing))
                self._compare(key, expected)
                self._rebuilt += expected
                self._recorded += self._open[key]
        self._open.clear()

    def rows(self) -> tuple[Collective, ...]:
        """Totals by name."""
        names = sorted({sent.name for sent in (*self._recorded, *self._rebuilt)})
        return tuple(
            Collective(
                name=name,
                count=sum(sent.name == name for sent in self._recorded),
                recorded_bytes=sum(sent.payload_bytes for sent in self._recorded if sent.name == name),
                graph_bytes=sum(sent.payload_bytes for sent in self._rebuilt if sent.name == name),
            )
            for name in names
        )

    def _compare(self, key: Key, expected: list[Sent]) -> None:
        recorded = self._open[key]
        if recorded == expected or self.first_difference:
            return
        pairs = zip(recorded, expected, strict=False)
        apart = next((pair for pair in pairs if pair[0] != pair[1]), None)
        self.first_difference = f"rank {key[0]}, micro-batch {key[1]}: " + (
            f"{apart[0]} recorded, {apart[1]} rebuilt"
            if apart
            else f"{len(recorded)} recorded, {len(expected)} rebuilt"
        )


def _choices(players: list[Player], subject: Subject, step: int, index: int) -> Choices:
    """Experts chosen by the tokens of every attention rank, as the unsharded model chose them."""
    leaders = {
        (p.rank.seat.place.copy, p.rank.seat.place.stage, p.rank.seat.place.dp): p
        for p in players
        if p.rank.seat.place.tp == 0
    }
    found: Choices = {}
    for player in players:
        place = player.rank.seat.place
        if place.tp is None or place.stage is None:
            continue
        leader = leaders[place.copy, place.stage, place.dp]
        for (at, micro, layer), ran in leader.rank.routed.items():
            if (at, micro) == (step, index):
                found[player.rank.seat.rank, layer] = with_expected(ran, leader, subject, step, index, layer)
    return found


def with_expected(ran: Tensor, player: Player, subject: Subject, step: int, index: int, layer: int) -> Tensor:
    """The experts that ran, [T, K], but every token's as the unsharded model has it; padding's as it ran."""
    share = player.shares[index]
    chosen = ran.clone().view(len(share), -1, ran.shape[-1])
    for row, sequence in enumerate(share):
        expected = subject.expected(sequence).routed[step, layer]
        chosen[row, chosen.shape[1] - expected.shape[0] :] = expected
    return chosen.view_as(ran)
