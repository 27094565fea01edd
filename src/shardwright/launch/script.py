"""A launch as shell scripts: one a node, which starts that node's processes and stops them together."""

import shlex
from collections.abc import Iterable

from shardwright.audit.placing import gpus_of
from shardwright.engine.start import HEAD_ADDRESS
from shardwright.launch.launch import Launch, LaunchFile, Process

HEAD = """#!/usr/bin/env bash
# %s
set -eu
"""

HERE = 'here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)\n'

NETWORK = """\
: "${HEAD_NODE_ADDRESS:?set it to the address of node %d, where the first ranks of this copy are}"
if [ -n "${NETWORK_INTERFACE:-}" ]; then
  export NCCL_SOCKET_IFNAME="$NETWORK_INTERFACE" GLOO_SOCKET_IFNAME="$NETWORK_INTERFACE"
fi
"""
"""Sources: NCCL 2.28, environment variables; torch 2.13, docs of torch.distributed."""

STOP = """
pids=()
stop() {
  trap '' INT TERM
  kill -TERM "${pids[@]}" 2>/dev/null || :
  wait
}
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM
"""

WAIT = """
# All of them are stopped when the first one ends.
status=0
wait -n || status=$?
stop
exit "$status"
"""

READY = """#!/usr/bin/env bash
# Waits until the servers of node %d answer, for WAIT_SECONDS (1800) at most.
set -eu
end=$((SECONDS + ${WAIT_SECONDS:-1800}))
for url in %s; do
  until curl --silent --fail --output /dev/null --max-time 5 "$url"; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "$url does not answer" >&2
      exit 1
    fi
    sleep 2
  done
done
"""

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a server that listens everywhere is asked from its own node."""


def scripts(launch: Launch, world: str) -> tuple[LaunchFile, ...]:
    """start-nodeN.sh for every node that a process is started on; ready-nodeN.sh for those that serve."""
    files = []
    for node in sorted({process.node for process in launch.processes}):
        own = [process for process in launch.processes if process.node == node]
        files.append(LaunchFile(path=f"start-node{node}.sh", text=_start(launch, node, own), executable=True))
        serving = [process for process in own if process.port is not None]
        if serving and launch.health:
            urls = " ".join(shlex.quote(_url(process, launch.health)) for process in serving)
            text = READY % (node, urls)
            files.append(LaunchFile(path=f"ready-node{node}.sh", text=text, executable=True))
    return tuple(files)


def _start(launch: Launch, node: int, own: list[Process]) -> str:
    title = f"Node {node} of {launch.num_nodes}: {launch.layout} on {launch.engine} {launch.version}"
    paths = {file.path for file in launch.files}
    parts = [HEAD % title]
    if any(word in paths for process in own for word in process.argv):
        parts.append(HERE)
    if any(HEAD_ADDRESS in word for process in own for word in process.argv):
        parts.append(NETWORK % (node - own[0].node_rank))
    parts.append(STOP)
    parts += [_process(process, paths) for process in own]
    return "".join((*parts, WAIT))


def _process(process: Process, paths: set[str]) -> str:
    """One process in the background, with what it is in a comment that no name of the user's is in."""
    what = f"# {process.name}: ranks {_runs(process.ranks)} on {gpus_of(process.gpus)}"
    settings = (f"{name}={shlex.quote(value)}" for name, value in process.environment.items())
    words = " ".join(("env", *settings, *(quoted(word, paths) for word in process.argv)))
    return f"\n{what}\n{words} &\npids+=($!)\n"


def quoted(word: str, paths: Iterable[str]) -> str:
    """A word for the shell: the files of the launch where they lie, the head's address as it is set there.

    >>> quoted("a $(b)", ()), quoted("HEAD_NODE_ADDRESS:29500", ())
    ("'a $(b)'", '"$HEAD_NODE_ADDRESS":29500')
    """
    if word in paths:
        return f'"$here"/{shlex.quote(word)}'
    parts = [shlex.quote(part) if part else "" for part in word.split(HEAD_ADDRESS)]
    return f'"${HEAD_ADDRESS}"'.join(parts) if len(parts) > 1 else shlex.quote(word)


def _runs(ranks: tuple[int, ...]) -> str:
    return gpus_of(ranks).partition(" ")[2]


def _url(process: Process, health: str) -> str:
    host = ANYWHERE.get(process.host, process.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{process.port}{health}"
