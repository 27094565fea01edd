"""Machine code and plain Python tell the same; machine code of an older source is not used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shardwright
from shardwright.serving.compiled import IS_COMPILED
from shardwright.serving.requests import Lengths, closed_loop, open_loop
from shardwright.serving.simulate import simulate
from tests.serving.cases import flat_times, server

RUN = """
import sys
{hide}
import shardwright.serving.compiled as compiled
from shardwright.serving.outcome import outcome_of
from shardwright.serving.requests import Lengths, closed_loop
from shardwright.serving.simulate import simulate
from tests.serving.cases import flat_times, server
policy = dict(mixes=False, most_sequences=3, kv_tokens=90, poll_steps=3, gather_steps=2)
loop = closed_loop(12, Lengths(low=5, high=25), Lengths(low=1, high=40), num_requests=60)
small = server(flat_times(0.01, prompt_token_s=0.001), dp=2, pp=2, **policy)
print(compiled.IS_COMPILED)
print(outcome_of(simulate(small, loop)).model_dump_json())
"""

HIDE_NUMBA = """
from importlib.abc import MetaPathFinder
import importlib.util
class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "numba":
            raise ModuleNotFoundError(name)
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "numba" else found(name, package)
sys.meta_path.insert(0, Hidden())
"""


def printed(hide: str, source: Path) -> list[str]:
    """What a process of its own prints, with the package of `source`."""
    paths = os.pathsep.join([str(source), str(Path(__file__).parents[2])])
    ran = subprocess.run(
        [sys.executable, "-c", RUN.format(hide=hide)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


SOURCE = Path(shardwright.__file__).parents[1]

needs_numba = pytest.mark.skipif(not IS_COMPILED, reason="the extra `serving` is not installed")


@needs_numba
def test_without_numba() -> None:
    """To the last digit."""
    fast, slow = printed("", SOURCE), printed(HIDE_NUMBA, SOURCE)
    assert (fast[0], slow[0]) == ("True", "False")
    assert '"restarted":0' not in fast[1]
    assert fast[1] == slow[1]


@needs_numba
def test_one_machine_code() -> None:
    """Copies, open and closed loops, all servers: one compilation serves them."""
    from shardwright.serving.loop import serve  # noqa: PLC0415

    lengths = Lengths.exactly(5)
    for requests in (closed_loop(3, lengths, lengths), open_loop(1, lengths, lengths, num_requests=9)):
        for copies in (1, 2, 4):
            simulate(server(flat_times(0.01), copies=copies), requests)
    assert len(serve.signatures) == 1  # type: ignore[attr-defined]


@needs_numba
def test_stale_machine_code(tmp_path: Path) -> None:
    """What is older than any source goes, for numba does not see a change in a file that others call."""
    package = tmp_path / "shardwright"
    shutil.copytree(SOURCE / "shardwright", package, ignore=shutil.ignore_patterns("__pycache__"))
    kept = package / "serving" / "__pycache__"
    kept.mkdir()
    newest_s = max(source.stat().st_mtime for source in (package / "serving").glob("*.py"))
    for name, age_s in (("old", 1), ("new", -1)):
        (kept / f"{name}.nbi").touch()
        os.utime(kept / f"{name}.nbi", (newest_s - age_s,) * 2)
    subprocess.run(
        [sys.executable, "-B", "-c", "import shardwright.serving.lookup"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
    )
    assert [index.name for index in kept.glob("*.nbi")] == ["new.nbi"]
