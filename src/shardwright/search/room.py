"""What fits a layout's memory, and what would make room for more: a GPU, a node, fp8 KV, another layout.

Exact by the memory model: one sequence or one token more does not fit. Only memory counts here: no target, no
limit of the scheduler.
"""

from typing import Literal

import numpy as np

from shardwright.cost.price import load_memories
from shardwright.cost.room import longest_sequence, most_sequences, sequences_that_fit
from shardwright.cost.stages import pipelines
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.record import Record
from shardwright.search.candidates import most_copies
from shardwright.search.engine import engine_of
from shardwright.search.illegal import Illegal
from shardwright.search.table import legal_copies
from shardwright.search.timing import stage_layers

NARROW = "fp8"
"""What engines offer for the KV cache beside the dtype of the activations."""


Gain = Literal["gpu", "node", "kv_dtype", "layout"]


class Purchase(Record):
    """One thing that could make room, and what fits then. reason: why it changes nothing, or ''."""

    id: Gain
    title: str
    layout: str
    num_gpus: int
    batch: int
    max_model_len: int
    reason: str = ""


class Room(Record):
    """batch: the most sequences of the load that fit, over all copies. max_model_len: the longest request
    that an attention rank holds, up to the model's positions. 0: nothing fits. buys: what each thing would
    make of them; with more GPUs or another layout, the one that holds the largest batch of all that the
    engine can run there without a rank that has no sequence of the load.
    """

    batch: int
    max_model_len: int
    all_positions: bool
    """max_model_len is the model's own limit, not the memory's."""
    buys: tuple[Purchase, ...]


def room_of(deployment: Deployment, layout: Layout) -> Room:
    """The room of the layout, and what would make it larger."""
    batch, length = _fits(deployment, layout)
    node = deployment.cluster.gpus_per_node
    tried: list[tuple[Gain, int, str]] = [("gpu", 1, "one more GPU")]
    if node > 1:
        tried.append(("node", node, "one more node"))
    tried.append(("layout", 0, "another layout"))
    return Room(
        batch=batch,
        max_model_len=length,
        all_positions=length == deployment.model.max_positions,
        buys=(
            _narrow_kv(deployment, layout, batch, length),
            *(_roomier(deployment, layout, batch, gain, added, title) for gain, added, title in tried),
        ),
    )


def _fits(deployment: Deployment, layout: Layout) -> tuple[int, int]:
    """(most sequences of the load, tokens of the longest request)."""
    work = deployment.workload
    site = (deployment.model, engine_of(deployment), deployment.cluster, work)
    memories = load_memories(*site, layout, stage_layers(layout, deployment))
    each = max(0, most_sequences(memories, work.input_tokens + work.output_tokens))
    return each * layout.dp * layout.copies, longest_sequence(memories, deployment.model.max_positions)


def _roomier(
    deployment: Deployment, layout: Layout, batch: int, gain: Gain, added: int, title: str
) -> Purchase:
    """The layout with most room on the layout's GPUs and `added` more, on as many nodes as they need."""
    cluster, own = deployment.cluster, min(layout.num_gpus, deployment.usable_gpus)
    nodes = max(cluster.nodes, -(-(own + added + deployment.reserve_gpus) // cluster.gpus_per_node))
    larger = deployment.model_copy(update={"cluster": cluster.model_copy(update={"nodes": nodes})})
    try:
        best, reason = roomiest(larger, own + added) or layout, ""
    except InputError as error:
        best, reason = layout, f"not tried, it takes {error.allowed}"
    then, length = _fits(larger, best)
    uses_them = added == 0 or best.num_gpus > own
    if not reason and not (then > batch and uses_them):
        reason = (
            "no layout that uses more GPUs holds more"
            if added
            else "no other layout of these GPUs holds more"
        )
    return Purchase(
        id=gain,
        title=title,
        layout=format_layout(best),
        num_gpus=best.num_gpus,
        batch=then,
        max_model_len=length,
        reason=reason,
    )


def _narrow_kv(deployment: Deployment, layout: Layout, batch: int, length: int) -> Purchase:
    """The same layout with a KV cache of one byte a value."""
    model, reason = deployment.model, ""
    if model.kv_bytes <= 1:
        reason = f"the KV cache is {model.kv_dtype} already"
    else:
        narrow = deployment.model_copy(update={"model": model.model_copy(update={"kv_dtype": NARROW})})
        then = _fits(narrow, layout)
        reason = "" if then != (batch, length) else "what is short is not KV"
        batch, length = then
    return Purchase(
        id="kv_dtype",
        title="KV in fp8",
        layout=format_layout(layout),
        num_gpus=layout.num_gpus,
        batch=batch,
        max_model_len=length,
        reason=reason,
    )


def roomiest(deployment: Deployment, max_gpus: int) -> Layout | None:
    """The layout of up to `max_gpus` GPUs that holds most sequences of the load; of those the fewest GPUs.

    None where nothing fits.
    """
    engine, work = engine_of(deployment), deployment.workload
    length, best = work.input_tokens + work.output_tokens, (0, 0)
    chosen: Layout | None = None
    for single in legal_copies(deployment, engine, max_gpus=max_gpus, illegal=Illegal()):
        layers = pipelines(deployment.model, engine.stages, single.pp)
        memories = load_memories(deployment.model, engine, deployment.cluster, work, single, layers)
        copies = most_copies(single, max_gpus=max_gpus, cluster=deployment.cluster)
        held = np.maximum(sequences_that_fit(memories, length), 0) * single.dp * copies
        row = int(np.lexsort((single.num_gpus * copies, -held))[0])
        found = (int(held[row]), -int(single.num_gpus[row] * copies[row]))
        if found > best:
            best = found
            chosen = single.layout(row).model_copy(update={"copies": int(copies[row])})
    return chosen
