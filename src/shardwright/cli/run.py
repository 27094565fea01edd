"""shardwright run: generate tokens with a layout, on our runtime."""

import os
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from shardwright.cli.inputs import layout_of
from shardwright.cli.output import print_result
from shardwright.cli.prompts import parse_ids, read_prompts
from shardwright.cli.runtime import check_size, needs_runtime, said_once
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.plan.generation import Mode, Sampling
from shardwright.record import validated
from shardwright.report.terminal import print_generation

WITHOUT_CHECKPOINT = "reference"
"""Whose tiny checkpoint is made where neither a folder nor a family is given."""


@click.command("run")
@click.argument("plan", type=click.Path(path_type=Path), required=False)
@click.option("--layout", help="run this layout: canonical, or as people write it beside a PLAN")
@click.option("--prompt", "texts", multiple=True, metavar="TEXT", help="a prompt; may be repeated")
@click.option("--prompts", "file", type=click.Path(path_type=Path), help="file with a prompt a line")
@click.option(
    "--prompt-ids", "ids", type=parse_ids, multiple=True, metavar="IDS", help="a prompt as ids: '1,2,3'"
)
@click.option("--checkpoint", type=click.Path(path_type=Path), help="folder with config.json and safetensors")
@click.option("--family", help=f"without --checkpoint: whose tiny one to make ({WITHOUT_CHECKPOINT})")
@click.option("--tokens", type=click.IntRange(1, 10**6), default=16, help="most tokens of an answer (16)")
@click.option("--temperature", type=float, help="0 is greedy (0; beside --top-k or --top-p 1)")
@click.option("--top-k", type=int, help="draw from the k most likely tokens")
@click.option("--top-p", type=float, help="draw from the fewest tokens that have this probability together")
@click.option("--seed", type=int, default=0, help="of the draws, and of a tiny checkpoint (0)")
@click.option(
    "--in-process", "mode", flag_value="in-process", default="in-process", help="one process (default)"
)
@click.option("--processes", "mode", flag_value="processes", help="a process a rank, on this machine")
@click.option("--torchrun", "mode", flag_value="torchrun", help="this process is a rank; torchrun started it")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="where ranks compute (cpu)")
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", help="execute in this dtype")
@click.option("--micro-batches", type=click.IntRange(1, 64), help="in flight (2, where prompts are enough)")
@click.option(
    "--near-ranks", type=click.IntRange(1), default=1, help="TP ranks that sum first (hierarchical)"
)
@click.option("--chunk-tokens", type=click.IntRange(1), help="prefill in pieces of at most so many tokens")
@click.option("--batched", is_flag=True, help="one message a peer for all micro-batches of an exchange")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(
    plan: Path | None,
    layout: str | None,
    texts: tuple[str, ...],
    file: Path | None,
    ids: tuple[list[int], ...],
    checkpoint: Path | None,
    family: str | None,
    tokens: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    mode: Mode,
    as_json: bool,
    **how: Any,
) -> int:
    """Generate tokens with the layout of PLAN (plan.json, its folder, a deployment file), or with --layout.

    Our runtime proves layouts, and is no serving engine. Under torchrun, on one machine or several:

    python -m torch.distributed.run --nproc-per-node N -m shardwright.cli.main run --torchrun ...
    """
    silent = mode == "torchrun" and os.environ.get("RANK", "0") != "0"
    with tempfile.TemporaryDirectory() as scratch:
        with Console(stderr=True, quiet=silent).status("reading the checkpoint") as status:
            with said_once(silent=silent):
                split = _split(plan, layout, mode)
                sampling = _sampling(temperature, top_k=top_k, top_p=top_p, seed=seed)
                texts += tuple(read_prompts(file)) if file else ()
                if not texts and not ids:
                    raise InputError("prompts", None, "--prompt TEXT, --prompts FILE or --prompt-ids IDS")
                with needs_runtime("run"):
                    import torch  # noqa: PLC0415 - takes seconds to import

                    from shardwright.run import generate, modes  # noqa: PLC0415
                modes.check_mode(mode, split, how["device"])
                asked = generate.Asked(
                    **_checkpoint(checkpoint, family, Path(scratch), seed),
                    texts=texts,
                    ids=ids,
                    **how,
                    num_tokens=tokens,
                    sampling=sampling,
                )
                if asked.random_weights:
                    torch.set_num_threads(1)  # on matrices as small as these, threads cost more than they do
                job = generate.generation_job(split, asked)
            with modes.performer(mode, job.seats.layout, status.update) as perform:
                results = perform(job)
        if not results:
            return 0
        found = generate.generation_of(job, results, asked, mode)
    print_result(found, print_generation, as_json=as_json)
    return 0


def _split(plan: Path | None, layout: str | None, mode: Mode) -> Layout:
    """The layout, where it has no more ranks than one machine is asked to play."""
    split = layout_of(plan, layout)
    check_size(split, mode)
    return split


def _sampling(temperature: float | None, **limits: int | float | None) -> Sampling:
    """Greedy, unless a temperature, or a limit of what is drawn from, says otherwise."""
    drawn = limits["top_k"] is not None or limits["top_p"] is not None
    usual = 1.0 if drawn else 0.0
    values = {"temperature": usual if temperature is None else temperature, **limits}
    return validated(Sampling, values, field="sampling")


def _checkpoint(folder: Path | None, family: str | None, scratch: Path, seed: int) -> dict[str, Any]:
    """The folder that is given, or a tiny one of random weights."""
    if folder is not None:
        if family is not None:
            raise InputError("--family", family, "no family beside --checkpoint")
        return {"folder": folder, "checkpoint": folder.resolve().name, "random_weights": False}
    from shardwright.run import tiny  # noqa: PLC0415 - torch takes seconds to import

    name = family or WITHOUT_CHECKPOINT
    made = tiny.make_tiny(name, scratch / name, seed=seed)
    return {"folder": made, "checkpoint": name, "random_weights": True}
