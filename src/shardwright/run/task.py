"""What the processes of a pool do together: any task that says how many it takes, and each one's part."""

from collections.abc import Callable
from typing import Protocol, TypeVar

Tell = Callable[[str], None]
"""Says what the rank does now, in words; told at least once a second while the rank waits for others."""

Part_co = TypeVar("Part_co", covariant=True)


class Task(Protocol[Part_co]):
    """Sent to every rank, and so picklable."""

    @property
    def num_ranks(self) -> int: ...

    @property
    def device(self) -> str:
        """'cpu' over gloo, or 'cuda' over NCCL, a GPU a rank."""

    def role(self, rank: int) -> str:
        """What the rank is in it, in words."""

    def perform(self, rank: int, tell: Tell) -> Part_co:
        """The rank's part, in an initialised world of num_ranks ranks."""
