"""How the copies of a layout are started on an engine: by which processes, where they listen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shardwright.layout.layout import Layout

if TYPE_CHECKING:  # it names exchanges of engines, and an engine has a launcher
    from shardwright.engine.start import Spoken, Start


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """How copies of a layout are started.

    speak: what starts one process of a copy. spans: why a copy does not start over so many nodes, "" where it
    does. world: on several nodes a process each, or one MPI world that runs the same command for every rank.
    copies_apart: whether each copy is a server of its own, else all are one world. health: the path that
    answers 200 once requests can be sent, "" where there is no server. first_port, port_step: where the
    servers of a node listen, one copy after another.
    """

    speak: Callable[["Start"], "Spoken"]
    spans: Callable[[Layout, int], str]
    world: Literal["processes", "mpi"] = "processes"
    copies_apart: bool = True
    ray: bool = False
    """Whether a Ray cluster can start the ranks of other nodes."""
    quantises: tuple[str, ...] = ()
    """Dtypes of weights that the engine makes at start from a checkpoint of 16 bits."""
    roles: Callable[[Layout], tuple[tuple[str, int], ...]] = lambda layout: (("", layout.num_gpus),)
    """(name, ranks) of the servers that a copy is made of, in the order of its ranks; the last answers."""
    own_address: str = ""
    """The variable that states a node's own address to the others; "" where the engine has none."""
    health: str
    first_port: int
    port_step: int = 1
    source: str
