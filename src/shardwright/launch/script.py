"""A launch as shell scripts: one a node, which starts that node's processes and stops them together."""

import shlex
from collections.abc import Iterable

from shardwright.audit.placing import gpus_of, ranges
from shardwright.engine.launcher import Launcher
from shardwright.engine.start import PLACEHOLDERS
from shardwright.launch.launch import Launch, LaunchFile, Process
from shardwright.plan.file import PLAN_FILE

HEAD = """#!/usr/bin/env bash
# %s
set -eu
"""

HERE = 'here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)\n'

NETWORK = """\
if [ -n "${NETWORK_INTERFACE:-}" ]; then
  export NCCL_SOCKET_IFNAME="$NETWORK_INTERFACE" GLOO_SOCKET_IFNAME="$NETWORK_INTERFACE"
fi
"""
"""Sources: NCCL 2.28, environment variables; torch 2.13, docs of torch.distributed."""

ADDRESS = """\
if [ -n "${NODE_ADDRESS:-}" ]; then
  export %s="$NODE_ADDRESS"
fi
"""

STOP = """
stop() {
  trap '' HUP INT TERM
  kill -TERM $(jobs -p) 2>/dev/null || :
  wait
}
trap 'stop; exit 129' HUP
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
  until curl --silent --fail --output /dev/null --noproxy '*' --max-time 5 "$url"; do
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


MPI = """\
if [ -n "${SLURM_JOB_ID:-}" ]; then
  run=(srun --nodes %(nodes)d --relative %(first)d --ntasks %(ranks)d --ntasks-per-node %(here)d --mpi=pmix)
else
  : "${NODES:?set it to the %(nodes)d nodes of this copy as mpirun takes them: first:%(here)d,next:%(here)d}"
  run=(mpirun -np %(ranks)d --host "$NODES")
  if [ -n "${NETWORK_INTERFACE:-}" ]; then
    run+=(-x NCCL_SOCKET_IFNAME -x GLOO_SOCKET_IFNAME)
  fi
fi

"""
"""Sources: Slurm 25.05, srun; Open MPI 4.1, mpirun; TensorRT-LLM 1.2, docs of trtllm-serve (multi-node)."""


def scripts(launch: Launch, launcher: Launcher) -> tuple[LaunchFile, ...]:
    """start-nodeN.sh for every node that a process is started on, or start-copyN.sh for every MPI world;
    ready-nodeN.sh for nodes that serve."""
    files = []
    one_world = launcher.world == "mpi" and launch.nodes_per_copy > 1
    for replica in range(launch.copies) if one_world else ():
        own = [process for process in launch.processes if process.replica == replica]
        text = _mpi(launch, replica, own)
        files.append(LaunchFile(path=f"start-copy{replica}.sh", text=text, executable=True))
    for node in sorted({process.node for process in launch.processes}):
        own = [process for process in launch.processes if process.node == node]
        if not one_world:
            text = _start(launch, launcher, node, own)
            files.append(LaunchFile(path=f"start-node{node}.sh", text=text, executable=True))
        serving = [url_of(process.host, process.port) for process in own if process.port is not None]
        if serving and launch.health:
            urls = " ".join(shlex.quote(url + launch.health) for url in serving)
            text = READY % (node, urls)
            files.append(LaunchFile(path=f"ready-node{node}.sh", text=text, executable=True))
    return tuple(files)


def _start(launch: Launch, launcher: Launcher, node: int, own: list[Process]) -> str:
    title = f"Node {node} of {launch.num_nodes}: {launch.layout} on {launch.runs_on}"
    paths = {PLAN_FILE, *(file.path for file in launch.files)}
    parts = [HEAD % title]
    if any(word in paths for process in own for word in process.argv):
        parts.append(HERE)
    for name, what in PLACEHOLDERS.items():
        if any(name in word for process in own for word in process.argv):
            parts.append(f': "${{{name}:?set it to {what.format(first=node - own[0].node_rank)}}}"\n')
    if launch.nodes_per_copy > 1:
        parts.append(NETWORK)
        if launcher.own_address:
            parts.append(ADDRESS % launcher.own_address)
    parts.append(STOP)
    parts += [_process(process, paths) for process in own]
    return "".join((*parts, WAIT))


def _mpi(launch: Launch, replica: int, own: list[Process]) -> str:
    """One MPI world: the same command for all ranks of a copy, started from one place."""
    nodes = f"nodes {own[0].node}-{own[-1].node} of {launch.num_nodes}"
    counts = {
        "nodes": len(own),
        "first": own[0].node,
        "ranks": sum(len(process.ranks) for process in own),
        "here": len(own[0].ranks),
    }
    head = HEAD % f"Copy {replica} on {nodes}: {launch.layout} on {launch.runs_on}"
    paths = {file.path for file in launch.files}
    here = HERE if any(word in paths for word in own[0].argv) else ""
    return "".join((head, here, NETWORK, MPI % counts, f'exec "${{run[@]}}" {_words(own[0], paths)}\n'))


def _process(process: Process, paths: set[str]) -> str:
    """One process in the background, with what it is in a comment that no name of the user's is in."""
    where = gpus_of(process.gpus) if process.gpus else "GPUs that Ray chooses"
    what = f"# {process.name}: ranks {ranges(sorted(process.ranks))} on {where}"
    return f"\n{what}\n{_words(process, paths)} &\n"


def _words(process: Process, paths: set[str]) -> str:
    settings = (f"{name}={shlex.quote(value)}" for name, value in process.environment.items())
    return " ".join(("env", *settings, *(quoted(word, paths) for word in process.argv)))


def quoted(word: str, paths: Iterable[str]) -> str:
    """A word for the shell: a file of the launch where it lies, a placeholder as the variable of its name.

    >>> quoted("a $(b)", ()), quoted("HEAD_NODE_ADDRESS:29500", ())
    ("'a $(b)'", '"$HEAD_NODE_ADDRESS":29500')
    """
    if word in paths:
        return f'"$here"/{shlex.quote(word)}'
    name = next((name for name in PLACEHOLDERS if name in word), None)
    if name is None:
        return shlex.quote(word)
    return f'"${name}"'.join(shlex.quote(part) if part else "" for part in word.split(name))


def url_of(host: str, port: int) -> str:
    """The address of an API on its own machine; an IPv6 host is set in brackets."""
    host = ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
