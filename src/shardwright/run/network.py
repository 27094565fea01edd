"""What a rank asks of the network. An interpreter performs it and hands the result back.

A rank's program is a generator of requests: it yields one, and is resumed with the tensor it asked for.
Interpreters: in_process.py plays every rank, distributed.py is one rank of torch.distributed.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from shardwright.run.seat import Members

Kind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send", "receive"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One operation on the network, as one rank sees it.

    name, layer: the operation of the rank program. group: its ranks, in order; (source, target) for a
    transfer. tensor: what the rank gives (for 'receive' an empty tensor of the shape that comes).
    all_gather and reduce_scatter work along dim 0, in group order; all_to_all exchanges rows of dim 0:
    `gives` to and `takes` from each member.
    """

    kind: Kind
    name: str
    layer: int | None
    group: Members
    tensor: Tensor
    gives: tuple[int, ...] = ()
    takes: tuple[int, ...] = ()

    @property
    def payload_bytes(self) -> int:
        """Bytes as the rank program counts them: of the whole buffer, or of the busier direction."""
        size = self.tensor.element_size()
        if self.kind == "all_gather":
            return self.tensor.numel() * size * len(self.group)
        if self.kind == "all_to_all":
            width = int(self.tensor.shape[1:].numel())
            return max(sum(self.gives), sum(self.takes)) * width * size
        return self.tensor.numel() * size

    def __str__(self) -> str:
        at = "" if self.layer is None else f" of layer {self.layer}"
        return f"{self.kind} '{self.name}'{at} over ranks {list(self.group)}"


Program = Generator[Request, Tensor, None]
"""A rank's run of one micro-batch: yields requests, is sent their results."""
