"""Graphs made by hand: operations with names, and seconds by name."""

from collections.abc import Mapping
from dataclasses import replace

from shardwright.dag.chain import Chain, Post
from shardwright.dag.graph import Graph, build_graph
from shardwright.dag.worker import Worker
from shardwright.steps.operation import AllReduce, Exchange, Operation, Small, Transfer

SIZES = {"tp": 2, "pp": 2, "exchange": 2}


def compute(name: str = "compute", layer: int | None = None) -> Small:
    return Small(name=name, moved_bytes=1.0, layer=layer)


def collective(name: str = "sum") -> AllReduce:
    return AllReduce(name=name, axis="tp", num_ranks=2, payload_bytes=1.0)


def transfer(*, sends: bool, payload_bytes: float = 1.0) -> Transfer:
    name = "send_stage" if sends else "receive_stage"
    return Transfer(name=name, axis="pp", num_ranks=2, payload_bytes=payload_bytes, sends=sends)


def exchange(name: str, layer: int, payload_bytes: float = 1.0) -> Exchange:
    return Exchange(
        name=name,
        axis="exchange",
        num_ranks=2,
        payload_bytes=payload_bytes,
        remote=1.0,
        dedicated=True,
        layer=layer,
    )


def stage_workers(num_stages: int) -> tuple[Worker, ...]:
    """Folded stages of one rank each."""
    return tuple(
        Worker(number=stage, role="attention+experts", stage=stage, ranks=(stage,))
        for stage in range(num_stages)
    )


def graph_of(
    workers: tuple[Worker, ...], chains: list[Chain], seconds: Mapping[str, float], *, serial: bool = False
) -> Graph:
    return build_graph(workers, chains, lambda operation: seconds[operation.name], SIZES, serial=serial)


def pipeline(
    num_stages: int, micro_batches: int, num_steps: int, middle: tuple[Operation, ...] = (compute(),)
) -> list[Chain]:
    """Every stage does `middle` for every micro-batch."""
    workers, found = stage_workers(num_stages), []
    for step in range(num_steps):
        for index in range(micro_batches):
            for worker in workers:
                stage = worker.number
                posts = [Post(operation, index, (stage,)) for operation in middle]
                if stage > 0:
                    posts.insert(0, Post(transfer(sends=False), index, (stage - 1, stage)))
                if stage < num_stages - 1:
                    posts.append(Post(transfer(sends=True), index, (stage, stage + 1)))
                found.append(Chain(worker, stage, step, index, tuple(posts)))
    return found


def apart_workers(num_stages: int, *, shared: bool) -> tuple[Worker, ...]:
    """Attention on one rank a stage; experts on one rank a stage, or on one for all."""
    attention = [
        Worker(number=stage, role="attention", stage=stage, ranks=(stage,)) for stage in range(num_stages)
    ]
    experts = [
        Worker(
            number=num_stages + place,
            role="experts",
            stage=None if shared else place,
            ranks=(num_stages + place,),
        )
        for place in range(1 if shared else num_stages)
    ]
    return (*attention, *experts)


def ping_pong(
    num_stages: int, micro_batches: int, num_steps: int, num_layers: int, *, shared: bool = False
) -> list[Chain]:
    """`num_layers` layers a stage: 'attention', 'dispatch', 'experts', 'combine'."""
    workers, found = apart_workers(num_stages, shared=shared), []
    for step in range(num_steps):
        for index in range(micro_batches):
            for stage in range(num_stages):
                expert = workers[num_stages + (0 if shared else stage)]
                own: list[Post] = []
                theirs: list[Post] = []
                for layer in range(stage * num_layers, (stage + 1) * num_layers):
                    there, back = (
                        Post(exchange(name, layer), index, (stage, expert.number))
                        for name in ("dispatch", "combine")
                    )
                    own += [Post(compute("attention", layer), index, (stage,)), there, back]
                    theirs += [there, Post(compute("experts", layer), index, (expert.number,)), back]
                if stage > 0:
                    own.insert(0, Post(transfer(sends=False), index, (stage - 1, stage)))
                if stage < num_stages - 1:
                    own.append(Post(transfer(sends=True), index, (stage, stage + 1)))
                found.append(Chain(workers[stage], stage, step, index, tuple(own)))
                found.append(Chain(expert, stage, step, index, tuple(theirs)))
    return found


def with_posts(chains: list[Chain], index: int, posts: tuple[Post, ...]) -> list[Chain]:
    """The chains, one of them with other posts."""
    return [replace(chain, posts=posts) if at == index else chain for at, chain in enumerate(chains)]
