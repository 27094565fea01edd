"""One split of one model: how many ranks along each axis, and where the experts live."""

from typing import Literal

from pydantic import model_validator

from shardwright.record import Count, CountOrZero, Record

ExpertHome = Literal["folded", "per_stage", "shared"]
"""Experts on the attention GPUs; on GPUs of their own for each stage; on one set for all stages."""


class Layout(Record):
    """The degrees of a layout. All default to 1: the whole model on one GPU.

    tp x dp attention ranks a stage, pp stages, `copies` independent replicas.
    Experts form an edp x ep x etp grid: over the stage's attention ranks when folded
    (tp x dp = etp x ep x edp), over GPUs of their own else.
    A dense model has etp = ep = edp = dp = 1.
    """

    tp: Count = 1
    dp: Count = 1
    pp: Count = 1
    ep: Count = 1
    etp: Count = 1
    edp: Count = 1
    copies: Count = 1
    home: ExpertHome = "folded"
    redundant: CountOrZero = 0
    """Physical expert slots beyond one an expert, over one ep grid of one layer."""
    stage_layers: tuple[Count, ...] = ()
    """Layers of each stage, when they are stated; () leaves the split to the engine."""

    @model_validator(mode="after")
    def _consistent(self) -> "Layout":
        experts, ranks = self.expert_ranks, self.tp * self.dp
        if self.home == "folded" and experts > 1 and experts != ranks:
            raise ValueError(
                f"folded experts need etp x ep x edp = tp x dp, but "
                f"{self.etp} x {self.ep} x {self.edp} = {experts} and {self.tp} x {self.dp} = {ranks}"
            )
        if self.stage_layers and len(self.stage_layers) != self.pp:
            raise ValueError(f"stage_layers {list(self.stage_layers)} must be {self.pp} counts")
        if self.stage_layers and self.pp == 1:
            raise ValueError("stage_layers need pp > 1")
        return self

    @property
    def expert_ranks(self) -> int:
        """Ranks of one expert grid."""
        return self.etp * self.ep * self.edp

    @property
    def attention_ranks(self) -> int:
        """Attention ranks of one stage."""
        return self.tp * self.dp

    @property
    def gpus_per_copy(self) -> int:
        """GPUs of one copy of the model."""
        own = {"folded": 0, "per_stage": self.pp * self.expert_ranks, "shared": self.expert_ranks}
        return self.pp * self.attention_ranks + own[self.home]

    @property
    def num_gpus(self) -> int:
        """GPUs of all copies."""
        return self.copies * self.gpus_per_copy
