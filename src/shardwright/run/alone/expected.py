"""Expected routing as tensors: what a rank's own tokens choose, and the rows that come for each slot."""

import numpy as np
import torch
from torch import Tensor, nn

from shardwright.run.alone.turn import Turn
from shardwright.run.seat import Members, Seat
from shardwright.workload.routing import RoutingProfile, expert_shares, inclusion_probabilities


class ExpectedRouter(nn.Module):
    """A router that computes as its own does, and then chooses as the profile says.

    A token draws top-k distinct experts with probabilities by their shares (Gumbel noise on log shares and
    a top-k, as inclusion_probabilities has it). The draw for a number of tokens is made once.
    """

    def __init__(self, router: nn.Module, profile: RoutingProfile, num_experts: int, seed: int) -> None:
        super().__init__()
        self.router = router
        self._shares = torch.from_numpy(expert_shares(profile, num_experts))
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn: dict[tuple[int, int], Tensor] = {}

    def forward(self, rows_TH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits, weights, expert ids), as a router of transformers gives them."""
        logits, weights_TK, ids_TK = self.router(rows_TH)
        num_tokens, top_k = ids_TK.shape
        if (num_tokens, top_k) not in self._drawn:
            drawn = self._draw(num_tokens, top_k)
            self._drawn[num_tokens, top_k] = drawn.to(device=ids_TK.device, dtype=ids_TK.dtype)
        return logits, weights_TK, self._drawn[num_tokens, top_k]

    def _draw(self, num_tokens: int, top_k: int) -> Tensor:
        uniform = torch.rand(num_tokens, len(self._shares), generator=self._generator, dtype=torch.float64)
        return (self._shares.log() - uniform.log().neg().log()).topk(top_k).indices


def expected_counts(seat: Seat, turn: Turn, profile: RoutingProfile, group: Members) -> np.ndarray:
    """Rows that each member of the exchange group sends for each slot of the rank: [members, slots].

    All rows of the turn's expert rank, for as many slots as it has active experts: those with the largest
    shares, in proportion to these. The ranks that the experts serve take turns as senders.
    """
    counts = np.zeros((len(group), len(seat.slots)), dtype=np.int64)
    senders = _senders(seat, group)
    rows_of_slots = apportioned(turn.expert_rows if senders else 0, _active_shares(seat, turn, profile))
    slot_of_row = np.repeat(np.arange(len(seat.slots)), rows_of_slots)
    sender_of_row = np.resize(np.array(senders, dtype=np.int64), len(slot_of_row))
    np.add.at(counts, (sender_of_row, slot_of_row), 1)
    return counts


def apportioned(total: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers in proportion to shares, with the sum `total`: largest remainders, the first of equals.

    >>> apportioned(5, np.array([1.0, 1.0, 0.0])).tolist()
    [3, 2, 0]
    """
    if not shares.sum():
        return np.zeros(len(shares), dtype=np.int64)
    exact = total * shares / shares.sum()
    whole = np.floor(exact).astype(np.int64)
    most = np.argsort(whole - exact, kind="stable")[: total - whole.sum()]
    whole[most] += 1
    return whole


def _active_shares(seat: Seat, turn: Turn, profile: RoutingProfile) -> np.ndarray:
    """Of each slot of the rank: its part of the tokens, 0 for those that are not active."""
    placement, experts = seat.seats.placement, seat.seats.model.experts
    if placement is None or experts is None or not seat.slots:
        return np.zeros(0)
    chosen = inclusion_probabilities(profile, experts.num_experts, experts.top_k)
    held = [placement.experts[slot] for slot in seat.slots]
    shares = np.array([chosen[expert] / len(placement.replicas(expert)) for expert in held])
    shares[np.argsort(-shares, kind="stable")[max(1, turn.active_experts) :]] = 0.0
    return shares


def _senders(seat: Seat, group: Members) -> list[int]:
    """The members whose tokens the rank's experts serve: all when folded, else by turns of the edp sets."""
    layout = seat.layout
    if layout.home == "folded":
        return list(range(len(group)))
    return [member for member in range(layout.attention_ranks) if member % layout.edp == seat.place.edp]
