"""Does communication hide behind compute? Two micro-batches on two processes, measured three ways.

    OMP_NUM_THREADS=1 python benchmarks/overlap.py

Each rank runs a mixture of experts under dp2/ep2 over gloo: with its requests answered at once from its
own memory (compute alone), with the same requests and nothing else (communication alone), and as it is.
Overlap is real when the last takes less than the first two together.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from shardwright.layout.notation import parse_layout
from shardwright.layout.stages import stage_counts
from shardwright.model.hf import read_config
from shardwright.run.checkpoint import Checkpoint, load_config
from shardwright.run.distributed import Links, drive
from shardwright.run.job import Job
from shardwright.run.network import Program, Request
from shardwright.run.perform import decoder_of, seat_player
from shardwright.run.seat import Seats
from shardwright.run.tiny import make_checkpoint

SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_experts": 16,
    "num_experts_per_tok": 8,
    "max_position_embeddings": 1024,
}
"""Fine-grained experts: 36 multiply-adds for each byte that is dispatched and combined."""

SEQUENCES, TOKENS, REPEATS = 4, 384, 5


def alone(program: Program) -> Program:
    """The compute of a program: an exchange brings as many rows as it should, of a buffer at hand."""
    answer, buffer = None, torch.randn(0)
    while True:
        try:
            request = program.send(answer)  # type: ignore[arg-type]
        except StopIteration:
            return
        if request.name == "dispatch_counts":
            answer = yield request  # how many rows come is needed to compute on as many
        else:
            rows, width = sum(request.takes), request.tensor.shape[1]
            if buffer.numel() < rows * width:
                buffer = torch.randn(rows, width)
            answer = buffer[:rows]


def replay(requests: list[Request]) -> Program:
    """The communication of a program, again."""
    for request in requests:  # noqa: UP028 - results are sent in, which a list cannot take
        yield request


def measure(rank: int, folder: Path, init: str, found: "mp.Queue[tuple[int, str, float]]") -> None:
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2)
    layout, model = parse_layout("dp2/ep2"), read_config(folder, name="fine-grained")
    model = model.model_copy(update={"weight_dtype": "fp32"})
    prompts = [torch.randint(8, 264, (TOKENS,)).tolist() for _ in range(2 * 2 * SEQUENCES)]
    job = Job(
        folder=folder,
        seats=Seats(model=model, layout=layout, stage_layers=stage_counts(layout, model.num_layers)),
        prompts=tuple(prompts),
        num_micro_batches=2,
        num_tokens=1,
    )
    links = Links(job.seats, rank, 2)
    config = load_config(folder)
    decoder, checkpoint = decoder_of(config), Checkpoint(folder)
    for repeat in range(REPEATS + 1):
        sent: dict[int, list[Request]] = {0: [], 1: []}
        for how in ("both", "compute", "communication"):
            player = seat_player(job, rank, config, decoder, checkpoint, torch.device("cpu"))
            programs = {index: program for (_, index), program in player.programs(0)}
            if how == "compute":
                programs = {index: alone(program) for index, program in programs.items()}
            elif how == "communication":
                programs = {index: replay(requests) for index, requests in sent.items()}

            def watch(
                event: str,
                index: int,
                request: Request,
                kept: dict[int, list[Request]] | None = sent if how == "both" else None,
            ) -> None:
                if kept is not None and event == "posted":
                    kept[index].append(request)

            dist.barrier()
            start = time.perf_counter()
            with torch.no_grad():
                drive(programs, links, watch)
            dist.barrier()
            if repeat:  # the first warms up
                found.put((rank, how, time.perf_counter() - start))
    dist.destroy_process_group()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_checkpoint("olmoe", SHAPE, Path(scratch) / "fine-grained", 0)
        queue: mp.Queue[tuple[int, str, float]] = mp.get_context("spawn").Queue()
        mp.spawn(measure, (folder, f"file://{scratch}/meeting", queue), nprocs=2)
        rows = [queue.get() for _ in range(2 * 3 * REPEATS)]
    seconds = {
        how: statistics.median(s for rank, name, s in rows if name == how and rank == 0)
        for how in ("compute", "communication", "both")
    }
    for how, value in seconds.items():
        print(f"{how:<14} {1000 * value:8.1f} ms (measured, median of {REPEATS})")
    hidden = seconds["compute"] + seconds["communication"] - seconds["both"]
    share = hidden / seconds["communication"]
    print(f"hidden         {1000 * hidden:8.1f} ms: {share:.0%} of the communication")


if __name__ == "__main__":
    main()
