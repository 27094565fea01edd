"""What starts our runtime on several GPUs: torchrun of torch 2.13, which starts a process a rank.

Source: torch 2.13.0, torch/distributed/run.py.
"""

from shardwright.engine.launcher import Launcher
from shardwright.engine.start import CHECKPOINT, Say, Spoken, Start, spoken
from shardwright.layout.layout import Layout

PLAN_FILE, PROMPTS_FILE = "plan.json", "prompts.txt"

PORT = 29500
"""torch's own default of --master-port."""

TORCHRUN = "torch 2.13.0, distributed/run.py"
OURS = "Shardwright 0.1, cli/run.py"

ROWS = (
    Say(flag="--nnodes", value=lambda start: start.place.nodes, source=TORCHRUN),
    Say(
        flag="--nproc-per-node",
        value=lambda start: start.layout.num_gpus // start.place.nodes,
        source=TORCHRUN,
    ),
    Say(flag="--standalone", value=lambda start: start.place.nodes == 1, source=TORCHRUN),
    Say(flag="--node-rank", value=lambda start: _of_several(start, start.place.node_rank), source=TORCHRUN),
    Say(flag="--master-addr", value=lambda start: _of_several(start, start.place.head), source=TORCHRUN),
    Say(flag="--master-port", value=lambda start: _of_several(start, PORT), source=TORCHRUN),
)

OWN_ROWS = (
    Say(flag="--prompts", value=lambda start: PROMPTS_FILE, source=OURS),
    Say(flag="--checkpoint", value=lambda start: CHECKPOINT, source=OURS),
    Say(flag="--device", value=lambda start: "cuda", source=OURS),
    Say(
        flag="--dtype",
        value=lambda start: "fp32" if start.model.weight_dtype == "fp32" else "bf16",
        source=OURS,
    ),
    Say(flag="--micro-batches", value=lambda start: start.micro_batches, source=OURS),
    Say(
        flag="--near-ranks",
        value=lambda start: start.near_ranks if start.near_ranks > 1 else None,
        source=OURS,
    ),
    Say(flag="--batched", value=lambda start: start.batched, source=OURS),
)


def _of_several(start: Start, value: int | str) -> int | str | None:
    return value if start.place.nodes > 1 else None


def speak(start: Start) -> Spoken:
    """The launcher of one node's ranks: copies are one world. The plan lies beside the prompts."""
    layout = start.layout
    prompts = layout.copies * layout.dp * start.micro_batches
    entry = ("python", "-m", "torch.distributed.run")
    ours = ("-m", "shardwright.cli.main", "run", "--torchrun", PLAN_FILE)
    return Spoken(
        argv=(*entry, *spoken(ROWS, start), *ours, *spoken(OWN_ROWS, start)),
        files={PROMPTS_FILE: "".join(f"Prompt {number} of {prompts}.\n" for number in range(1, prompts + 1))},
    )


def spans(layout: Layout, nodes: int) -> str:
    """A world of any number of ranks a node."""
    return ""


LAUNCHER = Launcher(
    speak=speak,
    spans=spans,
    copies_apart=False,
    health="",
    first_port=PORT,
    source=TORCHRUN,
)
