"""What the verbs that execute a model share: torch must be there, and a checkpoint to run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardwright.errors import EnvironmentLacksError, InputError, ShardwrightError
from shardwright.layout.layout import Layout

MAX_RANKS = {"in-process": 64, "processes": 32}
"""Ranks of one machine: more take minutes, and show nothing that fewer do not."""

LAST_WORD_S = 20.0
"""How long a silent rank waits for rank 0 to speak, and torchrun to end them all."""


@contextmanager
def needs_runtime(verb: str) -> Iterator[None]:
    """Raises EnvironmentLacksError for whatever of the extra `run` cannot be imported inside."""
    try:
        yield
    except ImportError as error:
        needs = f"{verb} needs torch and transformers: pip install 'shardwright[run]' ({error})"
        raise EnvironmentLacksError(needs) from None


def check_size(layout: Layout, mode: str) -> None:
    """Raise InputError for more ranks than one machine is asked to play."""
    most = MAX_RANKS.get(mode, layout.num_gpus)
    if layout.num_gpus > most:
        raise InputError("layout", f"{layout.num_gpus} ranks", f"at most {most} ranks, {mode}")


@contextmanager
def said_once(*, silent: bool) -> Iterator[None]:
    """What every rank that torchrun started finds wrong, the one that is not silent says for all."""
    try:
        yield
    except ShardwrightError as error:
        if not silent:
            raise
        time.sleep(LAST_WORD_S)
        raise SystemExit(error.exit_code) from None


def checkpoint_folders(checkpoint: Path | None, families: str, scratch: Path, seed: int) -> dict[str, Path]:
    """Name -> folder: the one that is given, or tiny ones of the comma-separated families (all, if '')."""
    from shardwright.run import tiny  # noqa: PLC0415

    if checkpoint is not None:
        return {checkpoint.resolve().name: checkpoint}
    names = [name for name in families.split(",") if name] or list(tiny.FAMILIES)
    return {name: tiny.make_tiny(name, scratch / name, seed=seed) for name in names}
