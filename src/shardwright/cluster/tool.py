"""What a command-line tool of this machine prints."""

import subprocess
from collections.abc import Sequence

from shardwright.errors import EnvironmentLacksError

TIMEOUT_S = 30.0
"""A driver that answers at all does so in a few seconds, also when it wakes eight GPUs."""


def tool_output(arguments: Sequence[str]) -> str | None:
    """The standard output of a command, run without a shell; None where the tool is not installed.

    Raises EnvironmentLacksError when it cannot be run, fails, or takes longer than TIMEOUT_S.
    """
    tool = arguments[0]
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentLacksError(f"{tool} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentLacksError(f"{tool} gave no answer within {TIMEOUT_S:g} s") from None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[0]
        raise EnvironmentLacksError(f"{tool} ended with status {done.returncode}, and said: {said[:200]}")
    return done.stdout
