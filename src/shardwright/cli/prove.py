"""shardwright prove: execute the layout beside the unsharded model, and write what came of it."""

import tempfile
from pathlib import Path

import click
from rich.console import Console

from shardwright.cli.alone import measure_rank
from shardwright.cli.inputs import layout_of
from shardwright.cli.output import print_result, write_result
from shardwright.cli.runtime import check_size, checkpoint_folders, needs_runtime
from shardwright.plan.generation import Mode
from shardwright.plan.proof import Trial
from shardwright.report.terminal import print_proof

PROOF_FILE = "proof.json"


@click.command("prove")
@click.argument("plan", type=click.Path(path_type=Path), required=False)
@click.option("--layout", help="prove this layout: canonical, or as people write it beside a PLAN")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="prove on this checkpoint folder instead")
@click.option(
    "--families",
    default="",
    help="comma-separated: of which tiny checkpoints, or 'reference' (all families)",
)
@click.option(
    "--in-process/--processes", "in_process", default=True, help="one process plays every rank, or one a rank"
)
@click.option("--micro-batches", type=click.IntRange(1, 8), default=2, help="micro-batches in flight")
@click.option(
    "--near-ranks", type=click.IntRange(1), default=1, help="TP ranks that sum first (hierarchical)"
)
@click.option("--chunk-tokens", type=click.IntRange(1), help="prefill in pieces of at most so many tokens")
@click.option("--batched", is_flag=True, help="one message a peer for all micro-batches of an exchange")
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", help="execute in this dtype")
@click.option("--rank", type=click.IntRange(0), help="measure this rank of PLAN alone, without the others")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="where --rank runs")
@click.option("--repetitions", type=click.IntRange(1, 1000), default=5, help="how often --rank runs a step")
@click.option("--seed", type=click.IntRange(0, 10**6), default=0, help="seed of checkpoints and prompts")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="folder to write proof.json to")
@click.option("--json", "as_json", is_flag=True, help="print the proof as JSON")
def command(
    plan: Path | None,
    layout: str | None,
    checkpoint: Path | None,
    families: str,
    in_process: bool,
    micro_batches: int,
    near_ranks: int,
    chunk_tokens: int | None,
    batched: bool,
    dtype: str,
    rank: int | None,
    device: str,
    repetitions: int,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> int:
    """Execute the layout of PLAN (plan.json, its folder, a deployment file), or a canonical --layout alone.

    The ranks run on tiny checkpoints of the model families or on --checkpoint. Exit status 1 when the
    layout does not give the model's own answers, 3 when torch is not installed.

    With --rank, one rank of PLAN runs by itself on --device, in its real shapes with random weights and its
    peers' answers made up: its compute time and memory are measured, and set beside the prediction.
    """
    if rank is not None:
        return measure_rank(
            plan,
            layout,
            rank=rank,
            device=device,
            repetitions=repetitions,
            seed=seed,
            output=output,
            as_json=as_json,
        )
    split = layout_of(plan, layout)
    mode: Mode = "in-process" if in_process else "processes"
    check_size(split, mode)
    trial = Trial(
        micro_batches=micro_batches, near_ranks=near_ranks, chunk_tokens=chunk_tokens, batched=batched
    )
    with needs_runtime("prove"):
        import torch  # noqa: PLC0415 - takes seconds to import

        from shardwright.run import modes, prove, subject  # noqa: PLC0415
    torch.set_num_threads(1)  # on matrices as small as these, threads cost more than they do
    executed = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    with (
        tempfile.TemporaryDirectory() as scratch,
        Console(stderr=True).status("making checkpoints") as status,
        modes.performer(mode, split) as perform,
    ):
        folders = checkpoint_folders(checkpoint, families, Path(scratch), seed)
        found = prove.prove_layout(
            split,
            [subject.Subject(name, folder, dtype=executed, seed=seed) for name, folder in folders.items()],
            trial,
            perform=perform,
            mode=mode,
            progress=lambda name: status.update(f"proving {name}"),
        )
    if output is not None:
        write_result(found, output / PROOF_FILE)
    print_result(found, print_proof, as_json=as_json)
    return 0 if found.passed else 1
