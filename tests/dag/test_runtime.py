"""The graph beside what the runtime records when it executes the layout, for every reading of the reference.

The checkpoint is a tiny Mixtral; all prompts are of one length, so that every micro-batch is alike.
"""

from collections import defaultdict
from pathlib import Path

import pytest
import torch

from shardwright.dag.chain import Chain, Work, chains
from shardwright.dag.schedule import Schedule
from shardwright.layout.grid import build_grid
from shardwright.layout.notation import parse_layout
from shardwright.model.hf import read_config
from shardwright.run.job import Job, RankResult, seats_of
from shardwright.run.ledger import CONTROL
from shardwright.run.operations import load_of
from shardwright.run.perform import perform_here
from shardwright.run.tiny import make_tiny
from shardwright.steps.operation import COMMUNICATION, Exchange, Transfer

READINGS = (
    "tp2.dp2.pp2/ep4",  # 8 GPUs, folded
    "tp2.pp2+ep4.shared",  # 8, as the document draws it
    "tp2.dp2.pp2+ep4.shared",  # 12
    "tp2.dp2.pp2/ep4.x2",  # 16
    "tp2.dp2.pp2+ep4",  # 16
    "tp2.pp2+ep4.shared.x2",  # 16
    "tp2.dp8.pp2/ep4.etp2.edp2",  # 32, as a plain product
)
TOKENS, SEQUENCES, MICRO_BATCHES = 6, 2, 2

Line = tuple[str, int | None, int]
"""(name, layer, payload bytes; 0 for an exchange, whose rows the routing decides)."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_tiny("mixtral", tmp_path_factory.mktemp("tiny") / "mixtral")


@pytest.mark.parametrize(
    ("near_ranks", "batched", "text"),
    [(1, False, text) for text in READINGS] + [(2, True, READINGS[0]), (2, True, READINGS[1])],
)
def test_every_rank_does_what_its_worker_does(
    near_ranks: int, batched: bool, text: str, folder: Path
) -> None:
    layout = parse_layout(text)
    model = read_config(folder, name="tiny").model_copy(update={"weight_dtype": "fp32"})
    number = SEQUENCES * MICRO_BATCHES * layout.dp * layout.copies
    generator = torch.Generator().manual_seed(3)
    job = Job(
        folder=folder,
        seats=seats_of(layout, model, near_ranks),
        prompts=tuple(torch.randint(8, 264, (number, TOKENS), generator=generator).tolist()),
        num_micro_batches=MICRO_BATCHES,
        num_tokens=1,
        batched=batched,
    )
    results = perform_here(job)
    work = Work(
        model=model,
        layout=layout,
        stage_layers=job.seats.stage_layers,
        load=load_of(SEQUENCES, TOKENS, 0),
        exchange="all_to_all",
        grid=build_grid(layout),
    )
    schedule = Schedule(micro_batches=MICRO_BATCHES, near_ranks=near_ranks, batched=batched)
    posted: dict[tuple[int, int], list[Line]] = defaultdict(list)
    for chain in chains(work, schedule):
        posted[chain.worker.number, chain.micro_batch] += lines_of(chain)
    ranks = {rank: worker.number for worker in work.workers for rank in worker.ranks}
    assert sorted(ranks) == list(range(layout.num_gpus))
    for result in results:
        for index in range(1 if batched else MICRO_BATCHES):
            assert recorded(result, index) == posted[ranks[result.rank], index]
    rows = sum(
        sum(entry.gives)
        for result in results
        if job.seats.seat(result.rank).place.tp is not None
        for entry in result.performed
        if entry.name == "dispatch"
    )
    # Every token goes to top-2 experts in each of 4 layers, once for each slice of an expert.
    assert rows == number * TOKENS * 2 * 4 * layout.etp


def lines_of(chain: Chain) -> list[Line]:
    told: list[Line] = []
    for post in chain.posts:
        operation = post.operation
        if operation.family in COMMUNICATION:
            size = 0 if isinstance(operation, Exchange) else int(operation.bytes)
            name = "stage" if isinstance(operation, Transfer) else operation.name
            told.append((name, operation.layer, size))
    return told


def recorded(result: RankResult, micro_batch: int) -> list[Line]:
    return [
        (entry.name, entry.layer, 0 if entry.kind == "all_to_all" else entry.payload_bytes)
        for entry in result.performed
        if entry.micro_batch == micro_batch and entry.name not in CONTROL
    ]
