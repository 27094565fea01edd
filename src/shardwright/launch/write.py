"""A launch as a folder: its files beside the plan that they start."""

from pathlib import Path

from shardwright.errors import InputError
from shardwright.launch.launch import Launch
from shardwright.plan.file import EXECUTABLE, READABLE, write_bytes, write_plan
from shardwright.plan.plan import Plan

MANIFESTS = ("deployment", "leaderworkerset", "job-*", "rendezvous-*", "service", "configmap", "claim")

STARTS = ("start-*.sh", "ready-*.sh", *(f"kubernetes/{stem}.yaml" for stem in MANIFESTS))
"""Files of any launch that are started, or applied with the others of their folder."""


def write_launch(launch: Launch, plan: Plan, folder: Path) -> tuple[Path, ...]:
    """plan.json and the files, each whole or not at all.

    Raises InputError where that is not possible, and for a folder with files of another launch, which would
    be started with these.
    """
    _check_alone(launch, folder)
    written = [write_plan(plan, folder)]
    for file in launch.files:
        mode = EXECUTABLE if file.executable else READABLE
        written.append(write_bytes(folder / file.path, file.text.encode(), mode=mode))
    return tuple(written)


def _check_alone(launch: Launch, folder: Path) -> None:
    own = {folder / file.path for file in launch.files}
    others = sorted({path for pattern in STARTS for path in folder.glob(pattern)} - own)
    if others:
        names = ", ".join(path.relative_to(folder).as_posix() for path in others)
        raise InputError("output", str(folder), f"a folder without files of another launch: {names}")
