"""Reads the files of a launch as the engines would: which rank, of which coordinates, computes on which GPU.

Shares no code with what writes them: words by shlex, flags by argparse, rank formulas from the engines'
sources, named below with the version that they were read in.
"""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from shardwright.launch.launch import Launch


@dataclass(frozen=True)
class Started:
    """One process as its script starts it. node: of the script; None where MPI places it."""

    file: str
    node: int | None
    words: list[str]
    environment: dict[str, str]
    before: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Worker:
    """A rank of a copy with its coordinates, and where it computes."""

    copy: int
    dp: int
    pp: int
    tp: int
    node: int
    gpu: int


def texts(launch: Launch) -> dict[str, str]:
    return {file.path: file.text for file in launch.files}


def started(launch: Launch) -> Iterator[Started]:
    """Every command of the start scripts, after `env NAME=VALUE ...`, up to `&` or the end of an exec."""
    for path, text in texts(launch).items():
        if not (match := re.fullmatch(r"start-(node|copy)(\d+)\.sh", path)):
            continue
        words = shlex.split(text, comments=True)
        before = []
        if match[1] == "copy":
            start = words.index("run=(srun")
            before = words[start + 1 : words.index("else")]
        for at in [i for i, word in enumerate(words) if word == "env"]:
            end = next((i for i in range(at, len(words)) if words[i] == "&"), len(words))
            own = words[at + 1 : end]
            settings = {}
            while "=" in own[0]:
                name, _, value = own.pop(0).partition("=")
                settings[name] = value
            yield Started(path, int(match[2]) if match[1] == "node" else None, own, settings, before)


def flags(words: list[str], **kinds: Any) -> argparse.Namespace:
    """The named flags of a command, and nothing else of it. `x=1`: a number that is 1 by default."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, default in kinds.items():
        for flag in {f"--{name}", f"--{name.replace('_', '-')}"}:
            if default is False:
                parser.add_argument(flag, dest=name, action="store_true")
            else:
                parser.add_argument(flag, dest=name, type=type(default), default=default)
    return parser.parse_known_args(words)[0]


def visible(process: Started) -> list[int]:
    return [int(gpu) for gpu in process.environment["CUDA_VISIBLE_DEVICES"].split(",")]


def vllm(launch: Launch) -> Iterator[Worker]:
    """vLLM 0.32.0, engine/arg_utils.py:2358-2402 (DP ranks of a node), config/parallel.py:804-836 (nodes of a
    DP rank), distributed/parallel_state.py:2126 (DP x PP x TP)."""
    for copy, processes in copies(launch):
        for process in processes:
            args = flags(
                process.words, tensor_parallel_size=1, pipeline_parallel_size=1, data_parallel_size=1,
                nnodes=1, node_rank=0, headless=False,
            )  # fmt: skip
            tp, pp, dp = args.tensor_parallel_size, args.pipeline_parallel_size, args.data_parallel_size
            within = tp * pp
            local = within * dp // args.nnodes
            first, here = args.node_rank * local // within, max(local // within, 1)
            nodes_of_rank = args.nnodes // (dp // here) if args.nnodes > 1 else 1
            part = within // nodes_of_rank
            gpus = visible(process)
            assert len(gpus) == local and args.headless == (args.node_rank > 0)
            for own in range(here):
                for i in range(part):
                    rank = (args.node_rank % nodes_of_rank) * part + i
                    assert process.node is not None
                    yield Worker(copy, first + own, rank // tp, rank % tp, process.node, gpus[own * part + i])


def sglang(launch: Launch) -> Iterator[Worker]:
    """SGLang 0.5.23, entrypoints/engine.py:2056-2090 (ranks of a node, gpu_id), runtime_context.py:78-130."""
    for copy, processes in copies(launch):
        for process in processes:
            args = flags(process.words, tp_size=1, pp_size=1, attn_dp_size=1, nnodes=1, node_rank=0)
            pp_here = max(args.pp_size // args.nnodes, 1)
            nodes_of_stage = max(args.nnodes // args.pp_size, 1)
            tp_here = args.tp_size // nodes_of_stage
            stages = range(
                pp_here * (args.node_rank // nodes_of_stage), pp_here * (args.node_rank // nodes_of_stage + 1)
            )
            ranks = range(
                tp_here * (args.node_rank % nodes_of_stage), tp_here * (args.node_rank % nodes_of_stage + 1)
            )
            attention_tp = args.tp_size // args.attn_dp_size
            gpus = visible(process)
            assert len(gpus) == pp_here * tp_here
            for pp in stages:
                for rank in ranks:
                    gpu = gpus[(pp % pp_here) * tp_here + rank % tp_here]
                    assert process.node is not None
                    yield Worker(copy, rank // attention_tp, pp, rank % attention_tp, process.node, gpu)


def trtllm(launch: Launch) -> Iterator[Worker]:
    """TensorRT-LLM 1.2, mapping.py (rank = pp_rank x tp_size + tp_rank; local rank = rank % gpus_per_node);
    srun and mpirun number ranks node by node."""
    for copy, processes in copies(launch):
        (process,) = processes
        args = flags(process.words, tp_size=1, pp_size=1, gpus_per_node=0, config="")
        says = yaml.safe_load(texts(launch)[args.config.rpartition("/")[2]]) if args.config else {}
        world, gpus = args.tp_size * args.pp_size, visible(process)
        here = args.gpus_per_node or world
        first = process.node
        if process.node is None:
            job = flags(process.before, nodes=0, relative=0, ntasks=0, ntasks_per_node=0)
            assert (job.ntasks, job.ntasks_per_node, job.nodes) == (world, here, world // here)
            assert process.words[0] == "trtllm-llmapi-launch"
            first = job.relative
        assert first is not None and len(gpus) == here
        for rank in range(world):
            own = rank % args.tp_size
            dp, tp = (own, 0) if says.get("enable_attention_dp") else (0, own)
            yield Worker(copy, dp, rank // args.tp_size, tp, first + rank // here, gpus[rank % here])


def torchrun(launch: Launch) -> Iterator[Worker]:
    """torch 2.13.0, distributed/run.py: rank = node_rank x nproc_per_node + local rank. Coordinates are the
    rank itself: they are our runtime's own."""
    for process in started(launch):
        args = flags(process.words, nnodes=1, nproc_per_node=1, node_rank=0)
        gpus = visible(process)
        assert len(gpus) == args.nproc_per_node and process.node is not None
        for local in range(args.nproc_per_node):
            yield Worker(0, 0, 0, args.node_rank * args.nproc_per_node + local, process.node, gpus[local])


def copies(launch: Launch) -> list[tuple[int, list[Started]]]:
    """The commands of each copy, in the order of its nodes: a new one starts where a command serves."""
    groups: list[list[Started]] = []
    for process in sorted(started(launch), key=lambda one: (one.node is None, one.node or 0)):
        if "--port" in process.words:
            groups.append([])
        groups[-1].append(process)
    return list(enumerate(groups))


READERS = {"vllm": vllm, "vllm@0.32": vllm, "sglang": sglang, "trtllm": trtllm, "torchrun": torchrun}
