"""A launch as a folder: its files beside the plan that they start."""

from pathlib import Path

from shardwright.launch.launch import Launch
from shardwright.plan.file import EXECUTABLE, READABLE, write_bytes, write_plan
from shardwright.plan.plan import Plan


def write_launch(launch: Launch, plan: Plan, folder: Path) -> tuple[Path, ...]:
    """plan.json and the files, each whole or not at all. Raises InputError where that is not possible."""
    written = [write_plan(plan, folder)]
    for file in launch.files:
        mode = EXECUTABLE if file.executable else READABLE
        written.append(write_bytes(folder / file.path, file.text.encode(), mode=mode))
    return tuple(written)
