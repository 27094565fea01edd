"""What the layout of a command lacks or loses: GPUs, memory, sequences, links."""

from collections.abc import Iterator

import numpy as np

from shardwright.audit.commands.record import CommandFinding
from shardwright.audit.commands.subject import CommandSubject
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.spec import GQA
from shardwright.model.weights import bytes_by_part
from shardwright.search.obstacles import obstacles
from shardwright.units import GB, format_bytes


def too_few_gpus(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Rules of the cluster: GPUs, whole copies on nodes."""
    for breach in obstacles(subject.deployment, subject.the_layout, subject.price):
        if breach.rule in ("gpus", "straddle"):
            yield CommandFinding(
                id=breach.rule,
                level="stops",
                sentence=f"{breach.sentence}: broken by {breach.excess:.0f} {breach.unit}",
                cure=breach.cure,
                source=breach.source,
                numbers={"excess": breach.excess},
            )


def idle_gpus(subject: CommandSubject) -> Iterator[CommandFinding]:
    """GPUs that the command leaves out."""
    used, there = subject.the_layout.num_gpus, subject.deployment.usable_gpus
    if used < there:
        yield CommandFinding(
            id="idle-gpus",
            level="costs",
            sentence=f"{there - used} of {there} GPUs are left idle",
            cure=f"{there // used} such commands" if there >= 2 * used else "a larger layout, or fewer GPUs",
            numbers={"idle": there - used},
        )


def idle_ranks(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Attention ranks without a sequence."""
    ranks, batch = subject.the_layout.dp * subject.the_layout.copies, subject.deployment.workload.batch
    if batch < ranks:
        yield CommandFinding(
            id="idle-ranks",
            level="costs",
            sentence=f"{batch} sequences in flight leave {ranks - batch} of {ranks} attention ranks idle",
            cure="a smaller DP, or fewer copies",
            numbers={"idle": ranks - batch},
        )


def memory(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Weights, one longest request, and the load against the KV cache."""
    room, length = subject.capacity, subject.deployment.workload.max_model_len
    ranks = subject.the_layout.dp * subject.the_layout.copies
    if not room.weights_fit:
        short = max(-float(np.asarray(row.left_for_kv)) for row in subject.price.memories)
        yield CommandFinding(
            id="memory",
            level="stops",
            sentence=f"A GPU lacks {format_bytes(max(short, 0))} for the weights and what the engine keeps, "
            "before any KV cache",
            cure="more GPUs a copy, or a narrower dtype",
            numbers={"short_gb": short / GB},
        )
        return
    if not room.request_fits:
        server = subject.server
        yield CommandFinding(
            id="max-len-does-not-fit",
            level="costs" if server.starts_short else "stops",
            sentence=f"The KV cache of an attention rank holds {room.rank_tokens:,} tokens, less than one "
            f"request of {length:,}{'' if server.starts_short else ': the engine does not start'}",
            cure=f"a longest sequence of at most {room.rank_tokens:,} tokens, or more GPUs a copy",
            numbers={"held": room.rank_tokens, "length": length},
        )
    work, limit = subject.deployment.workload, subject.limits.max_sequences
    kv = max(float(np.asarray(row.over_budget)) for row in subject.price.memories)
    if kv > 0:
        yield CommandFinding(
            id="kv-of-the-load",
            level="costs",
            sentence=f"{work.batch} sequences of {work.input_tokens + work.output_tokens:,} tokens need "
            f"{format_bytes(kv)} of KV a GPU more than there is: some of them wait or are computed again",
            cure="fewer sequences in flight, or more GPUs a copy",
            numbers={"short_gb": kv / GB},
        )
    if subject.batch_stated and work.batch > limit * ranks:
        yield CommandFinding(
            id="sequences-limit",
            level="costs",
            sentence=f"{work.batch} sequences in flight are more than {limit} on each of {ranks} attention "
            "ranks: the others wait, and the figures are too good",
            cure="a larger limit of sequences",
            numbers={"limit": limit * ranks},
        )


def static_share(subject: CommandSubject) -> Iterator[CommandFinding]:
    """A share for weights and KV that leaves too little for the rest (SGLang)."""
    rule = subject.engine.memory
    if rule.of != "static":
        return
    total = float(subject.deployment.cluster.device.memory_bytes)
    left = total * (1 - rule.utilisation)
    needed = max(float(np.asarray(row.fixed - row.weights)) for row in subject.price.memories)
    if needed > left:
        yield CommandFinding(
            id="static-share",
            level="note",
            sentence=f"{rule.utilisation:g} of the memory for weights and KV leaves {format_bytes(left)}; by "
            f"the engine's own rule activations, communication and CUDA graphs take {format_bytes(needed)}",
            cure=f"at most {1 - needed / total:.2f}",
            source=rule.source,
            numbers={"left_gb": left / GB, "needed_gb": needed / GB},
        )


def dense_model(subject: CommandSubject) -> Iterator[CommandFinding]:
    """DP and EP of a model without experts."""
    layout, settings = subject.the_layout, subject.arguments.settings
    if subject.model.experts is not None:
        return
    if layout.copies > 1:
        whole = sum(bytes_by_part(subject.model).values())
        each = format_bytes(whole / layout.gpus_per_copy)
        yield CommandFinding(
            id="dense-dp-is-copies",
            level="note",
            sentence=f"{subject.model.name} has no experts: DP {layout.copies} is {layout.copies} "
            f"independent copies, each with all {format_bytes(whole)} of weights, about {each} a GPU",
            numbers={"copies": layout.copies},
        )
    for name in ("ep", "moe_tp", "moe_dp"):
        row = subject.arguments.stated(name)
        if row is not None and settings.get(name) != 1:
            yield CommandFinding(
                id="ep-without-experts",
                level="note",
                sentence=f"{row.flag} {row.value} has no effect: {subject.model.name} has no experts",
                cure=f"leave out {row.flag}",
            )


def kv_copied(subject: CommandSubject) -> Iterator[CommandFinding]:
    """KV that several TP ranks hold alike: more ranks than KV heads, or the one latent row of MLA."""
    layout, attention = subject.the_layout, subject.model.attention
    here = kv_bytes_per_token_per_layer_per_rank(subject.model, layout.tp) * layout.tp
    times = here / kv_bytes_per_token_per_layer_per_rank(subject.model, 1)
    if times <= 1:
        return
    experts = subject.model.experts is not None
    if isinstance(attention, GQA):
        sentence = (
            f"TP {layout.tp} over {attention.num_kv_heads} KV heads holds every KV row {times:.3g} times"
        )
    else:
        sentence = f"MLA has one KV row for all heads: TP {layout.tp} holds it {times:.3g} times"
    yield CommandFinding(
        id="kv-copied-by-tp",
        level="costs",
        sentence=sentence,
        cure="attention DP instead of TP: each rank then keeps its own sequences"
        if experts
        else "a smaller TP",
        source="SGLang, docs/basic_usage/deepseek_v3.md, Data Parallelism Attention; vLLM, "
        "ModelConfig.get_num_kv_heads",
        numbers={"times": times},
    )


def across_nodes(subject: CommandSubject) -> Iterator[CommandFinding]:
    """All-reduces of every layer over the network, and a command that says nothing of other nodes."""
    layout, per_node = subject.the_layout, subject.deployment.cluster.gpus_per_node
    nodes = -(-layout.tp // per_node)
    if nodes > 1:
        yield CommandFinding(
            id="tp-across-nodes",
            level="costs",
            sentence=f"TP {layout.tp} spans {nodes} nodes of {per_node}: two all-reduces a layer go over "
            "the network",
            cure=f"TP up to {per_node}, and PP, DP or copies over nodes",
            numbers={"nodes": nodes},
        )
    given = {row.flag for row in subject.arguments.ignored} | set(subject.arguments.settings)
    spans = subject.server.spans
    if layout.num_gpus > per_node and spans is not None and not given & set(spans):
        yield CommandFinding(
            id="one-node-command",
            level="note",
            sentence=f"{layout.num_gpus} GPUs are more than the {per_node} of a node, and nothing here says "
            "how the command reaches the others",
            cure=f"--nnodes {-(-layout.num_gpus // per_node)} and a command on each node",
        )
