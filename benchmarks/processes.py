"""What a finished command has used, by the operating system's own count."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"
"""Set in some containers; every run then compiles every module again, a fifth of a small plan."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """cpu_s: user and system seconds. peak_bytes: the most memory that it held at once."""

    cpu_s: float
    peak_bytes: int
    output: str


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Used:
    """Run a command to its end. Raises CalledProcessError where it fails (exit 1 is a target missed).

    Python keeps its byte code, as it does for who has installed us: the first run of all may write it.
    """
    kept = {name: value for name, value in (environment or os.environ).items() if name != NO_BYTE_CODE}
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=kept)
    with child:
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):
        raise subprocess.CalledProcessError(child.returncode, list(map(str, command)))
    return Used(cpu_s=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * 1024, output=output)
