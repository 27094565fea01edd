"""shardwright prove: execute the layout beside the unsharded model, and write what came of it."""

import tempfile
from pathlib import Path

import click
from rich.console import Console

from shardwright.cli.inputs import layout_of
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.plan.file import write_text
from shardwright.report.terminal import print_proof

PROOF_FILE = "proof.json"

MAX_RANKS = 64
"""Ranks that one process plays: more take minutes and prove nothing that fewer do not."""


@click.command("prove")
@click.argument("plan", type=click.Path(path_type=Path), required=False)
@click.option("--layout", help="prove this layout: canonical, or as people write it beside a PLAN")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="prove on this checkpoint folder instead")
@click.option("--families", default="", help="comma-separated families of tiny checkpoints (default: all)")
@click.option("--micro-batches", type=click.IntRange(1, 8), default=2, help="micro-batches in flight")
@click.option("--seed", type=click.IntRange(0, 10**6), default=0, help="seed of checkpoints and prompts")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="folder to write proof.json to")
@click.option("--json", "as_json", is_flag=True, help="print the proof as JSON")
def command(
    plan: Path | None,
    layout: str | None,
    checkpoint: Path | None,
    families: str,
    micro_batches: int,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> int:
    """Execute the layout of PLAN (plan.json, its folder, a deployment file), or a canonical --layout alone.

    One process plays every rank, on tiny checkpoints of the model families or on --checkpoint. Exit status
    1 when the layout does not give the model's own answers, 3 when torch is not installed.
    """
    split = layout_of(plan, layout)
    if split.num_gpus > MAX_RANKS:
        raise InputError("layout", f"{split.num_gpus} ranks", f"at most {MAX_RANKS} ranks in one process")
    try:
        from shardwright.run import prove, subject, tiny  # noqa: PLC0415 - torch takes seconds to import
    except ImportError as error:
        needs = f"prove needs torch and transformers: pip install 'shardwright[run]' ({error})"
        raise EnvironmentLacksError(needs) from None
    with (
        tempfile.TemporaryDirectory() as scratch,
        Console(stderr=True).status("making checkpoints") as status,
    ):
        if checkpoint is not None:
            folders = {checkpoint.resolve().name: checkpoint}
        else:
            names = [name for name in families.split(",") if name] or list(tiny.FAMILIES)
            folders = {name: tiny.make_tiny(name, Path(scratch) / name, seed=seed) for name in names}
        found = prove.prove_layout(
            split,
            [subject.Subject(name, folder, seed=seed) for name, folder in folders.items()],
            micro_batches=micro_batches,
            progress=lambda name: status.update(f"proving {name}"),
        )
    if output is not None:
        written = write_text(output / PROOF_FILE, found.model_dump_json(indent=2) + "\n")
        click.echo(f"wrote {written}", err=True)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        print_proof(found, Console())
    return 0 if found.passed else 1
