"""The recorded outputs, and tools that answer with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shardwright.cluster.amd import AMD_SMI, ROCM_SMI
from shardwright.cluster.nvidia import QUERY, TOPOLOGY

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def machine_with(
    *, gpus: str | None = None, topo: str | None = None, amd: str | None = None, rocm: str | None = None
) -> Callable[[Sequence[str]], str | None]:
    """A machine whose tools print these texts; None: not installed."""
    answers: Mapping[tuple[str, ...], str | None] = {
        QUERY: gpus,
        TOPOLOGY: topo,
        AMD_SMI: amd,
        ROCM_SMI: rocm,
    }
    return lambda arguments: answers[tuple(arguments)]
