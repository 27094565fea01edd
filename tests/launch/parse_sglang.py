"""SGLang's own argument parser without its kernels: lists of words on stdin, what they set on stdout.

Run in a process of its own, for it puts a stand-in where triton would be; with -P, for a folder beside
it has the name of a module of Python's (inspect).
"""

import argparse
import contextlib
import io
import json
import sys
from importlib.util import find_spec
from unittest.mock import MagicMock

if find_spec("triton") is None:
    for name in ("triton", "triton.language"):
        sys.modules[name] = MagicMock()

from sglang.srt.server_args import ServerArgs


def parsed(words: list[str]) -> dict[str, object]:
    """What the words set, and the warnings that the parser gave. Ends the process where it refuses them."""
    parser, said = argparse.ArgumentParser(), io.StringIO()
    ServerArgs.add_cli_args(parser)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            args = parser.parse_args(words)
        except SystemExit:
            return {"refused": said.getvalue()}
    return {**vars(args), "warned": said.getvalue()}


if __name__ == "__main__":
    commands = json.load(sys.stdin)
    answers = [parsed(words) for words in commands]
    sys.stdout.write("\n" + json.dumps(answers, default=str))
