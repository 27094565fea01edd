"""Memory of a rank, part by part, for every role and stage; and what is left for the KV cache.

Weights come from the rows of model/weights.py through the sharding rules, so that they equal what a rank
loads. The budget and what the engine keeps for itself come from its memory rule.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, cast

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import Device
from shardwright.cost.kv_cache import KvCache
from shardwright.cost.stages import Kind, Layers, kinds
from shardwright.engine.engine import Degrees, Engine, MemoryRule, SchedulerLimits
from shardwright.layout.grid import Role
from shardwright.layout.placement import max_slots
from shardwright.layout.shards import local_elements
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.spec import GQA, LayerShape, Mlp, ModelSpec
from shardwright.model.weight import Weight
from shardwright.model.weights import layer_weights, outer_weights, output_head
from shardwright.record import Size

Runs = tuple[tuple[LayerShape, Size], ...]
"""Layers of each shape."""


@dataclass(frozen=True, kw_only=True)
class RankMemory:
    """Bytes on the fullest rank of one role in one stage. Numbers, or arrays over layouts."""

    role: Role
    stage: str
    first_stage: int
    """Index of the first stage of the kind; 0 for experts that all stages share."""
    stages: Size
    """How many stages of the kind there are: 0 where a layout of many has none."""
    dense_weights: Size
    expert_weights: Size
    embedding: Size
    head: Size
    activations: Size
    sampler: Size
    buffers: Size
    runtime: Size
    kv: Size
    """KV cache of the load: every sequence at its full length."""
    cache: KvCache
    length: int
    """Tokens of a sequence of the load."""
    limit: float
    """Bytes of the device, times the engine's utilisation where that counts all of it."""
    share_of_free: float = 1.0
    """The share of what is left that becomes KV, where the utilisation counts only that."""
    only_weights: bool = False
    """Whether the limit is of weights and KV alone, and leaves the rest of the device to all else."""

    @property
    def weights(self) -> Size:
        return self.dense_weights + self.expert_weights + self.embedding + self.head

    @property
    def fixed(self) -> Size:
        """All but KV."""
        return self.weights + self.activations + self.sampler + self.buffers + self.runtime

    @property
    def used(self) -> Size:
        return self.fixed + self.kv

    @property
    def left_for_kv(self) -> Size:
        """Bytes that the engine has for KV; negative when the weights alone do not fit."""
        beside = self.weights if self.only_weights else self.fixed
        return self.share_of_free * (self.limit - beside)

    @property
    def over_budget(self) -> Size:
        """Bytes by which the KV of the load overshoots what is left for it; <= 0 fits."""
        return self.kv - self.left_for_kv

    @property
    def keeps_kv(self) -> bool:
        """Whether the rank has attention."""
        return bool(self.cache.layers)

    @property
    def kv_bytes_per_token(self) -> Size:
        """The mean over a sequence of the load in whole blocks; 0 where the rank keeps no KV."""
        return self._token_bytes(self.length)

    def kv_tokens(self, length: int | None = None) -> Size:
        """Tokens of KV that fit in whole blocks, as sequences of `length` tokens (by default the load's)."""
        block = self.cache.block_tokens
        per_block = np.maximum(self._token_bytes(length or self.length) * block, 1e-9)
        return np.floor(np.maximum(self.left_for_kv, 0) / per_block) * block

    def most_sequences(self, length: int) -> Size:
        """The most sequences of `length` tokens that fit; -1 where not even the weights do."""
        each = self.cache.sequence_bytes(length)
        most = np.floor(self.left_for_kv / np.maximum(each, 1e-9))
        # The quotient is rounded: where it was rounded up, the product tells.
        most = most - (most * each > self.left_for_kv)
        return np.where(np.asarray(self.left_for_kv) < 0, -1, most)

    def _token_bytes(self, length: int) -> Size:
        block = self.cache.block_tokens
        return self.cache.sequence_bytes(length) / (-(-length // block) * block)


def rank_memories(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    degrees: Degrees,
    layers: Layers,
    *,
    sequences: Size,
    tokens_per_sequence: int,
) -> Iterator[RankMemory]:
    """The memory of each role in each kind of stage (equal stages once).

    sequences: on one attention rank, all its micro-batches together, each tokens_per_sequence long.
    """
    site = _Site(model=model, rule=engine.memory, device=cluster.device, degrees=degrees)
    every = kinds(model, layers)
    for kind in every:
        yield _attention_rank(site, kind, sequences=sequences, tokens=tokens_per_sequence)
        moe_layers = _sum(count for shape, count in kind.runs if shape.mlp == "moe")
        if degrees.home == "per_stage" and np.any(moe_layers):
            there = np.where(np.asarray(moe_layers) > 0, kind.times, 0)
            yield _expert_rank(site, kind.runs, kind.name, kind.first_stage, there)
    if degrees.home == "shared":
        runs = tuple((shape, kind.times * count) for kind in every for shape, count in kind.runs)
        yield _expert_rank(site, runs, "all", 0, 1)


def largest(memories: Sequence[RankMemory], figure: Callable[[RankMemory], Size]) -> Size:
    """The largest of a figure over all ranks of a layout."""
    there = (np.where(np.asarray(row.stages) > 0, figure(row), -np.inf) for row in memories)
    return reduce(np.maximum, there)


@dataclass(frozen=True, kw_only=True)
class _Site:
    """What every part of the sum looks at."""

    model: ModelSpec
    rule: MemoryRule
    device: Device
    degrees: Degrees

    @cached_property
    def limits(self) -> SchedulerLimits:
        return self.rule.limits_on(self.device)

    @cached_property
    def slots(self) -> Size:
        """Expert slots of the fullest rank."""
        experts = self.model.experts
        return max_slots(experts.num_experts, self.degrees.redundant, self.degrees.ep) if experts else 0

    @property
    def allowance(self) -> dict[str, Any]:
        """limit, and what it counts, of the memory rule."""
        total, share = float(self.device.memory_bytes), self.rule.utilisation
        match self.rule.of:
            case "device":
                return {"limit": total * share}
            case "free":
                return {"limit": total, "share_of_free": share}
            case "static":
                return {"limit": total * share, "only_weights": True}

    def bytes_of(self, rows: Iterable[Weight]) -> Size:
        """Bytes of the rows on the rank that holds most of them."""
        total: Size = 0.0
        for row in rows:
            total = total + local_elements(row, self.degrees, self.slots) * row.bytes_per_element
        return total

    @cached_property
    def layer_bytes(self) -> dict[tuple[Mlp, int], tuple[Size, Size]]:
        """Bytes of one layer of each kind: (of its experts, of all else)."""
        found: dict[tuple[Mlp, int], tuple[Size, Size]] = {}
        for layer, shape in enumerate(self.model.layer_shapes):
            if (shape.mlp, shape.stored) not in found:
                rows = layer_weights(self.model, layer)
                experts, others = (
                    [row for row in rows if (row.part == "expert") == wanted] for wanted in (True, False)
                )
                found[shape.mlp, shape.stored] = self.bytes_of(experts), self.bytes_of(others)
        return found

    def expert_bytes(self, runs: Runs) -> Size:
        """Bytes of the experts of these layers."""
        return _sum(count * self.layer_bytes[shape.mlp, shape.stored][0] for shape, count in runs)

    def dense_bytes(self, runs: Runs) -> Size:
        """Bytes of all else of these layers."""
        return _sum(count * self.layer_bytes[shape.mlp, shape.stored][1] for shape, count in runs)


def _attention_rank(site: _Site, kind: Kind, *, sequences: Size, tokens: int) -> RankMemory:
    model, rule, degrees = site.model, site.rule, site.degrees
    folded = degrees.home == "folded"
    windows: dict[int | None, Size] = {}
    for shape, count in kind.runs:
        windows[shape.window] = windows.get(shape.window, 0) + count
    cache = KvCache(
        layers=tuple(windows.items()),
        layer_bytes_per_token=kv_bytes_per_token_per_layer_per_rank(model, degrees.tp),
        block_tokens=rule.block_tokens,
    )
    sampler = rule.sampler_bytes_per_logit * site.limits.max_sequences * model.vocab if kind.last else 0.0
    outer = outer_weights(model)
    head = [weight for weight in outer if weight.part in ("norm", "head")]
    if model.tied_embeddings and not kind.first:
        head.append(output_head(model))
    return RankMemory(
        role="attention+experts" if folded and model.experts else "attention",
        stage=kind.name,
        first_stage=kind.first_stage,
        stages=kind.times,
        dense_weights=site.dense_bytes(kind.runs),
        expert_weights=site.expert_bytes(kind.runs) if folded else 0.0,
        embedding=site.bytes_of(w for w in outer if w.part == "embedding") if kind.first else 0.0,
        head=site.bytes_of(head) if kind.last else 0.0,
        # The sampler runs after the forward pass: the larger of the two is what counts.
        activations=np.maximum(0.0, _forward_peak(site) - sampler),
        sampler=sampler,
        buffers=_exchange_buffers(site),
        runtime=_runtime(site),
        kv=sequences * cache.sequence_bytes(tokens),
        cache=cache,
        length=tokens,
        **site.allowance,
    )


def _expert_rank(site: _Site, runs: Runs, name: str, first_stage: int, stages: Size) -> RankMemory:
    experts, degrees = site.model.experts, site.degrees
    assert experts is not None
    rows = site.limits.max_batched_tokens * degrees.dp / degrees.edp * experts.top_k / degrees.ep
    width = 3 * experts.width / degrees.etp + 2 * site.model.hidden
    return RankMemory(
        role="experts",
        stage=name,
        first_stage=first_stage,
        stages=stages,
        dense_weights=0.0,
        expert_weights=site.expert_bytes(runs),
        embedding=0.0,
        head=0.0,
        activations=rows * width * site.model.activation_bytes,
        sampler=0.0,
        buffers=_exchange_buffers(site),
        runtime=site.rule.runtime_bytes_grouped,
        kv=0.0,
        cache=KvCache(block_tokens=site.rule.block_tokens),
        length=1,
        **site.allowance,
    )


def _sum(sizes: Iterable[Size]) -> Size:
    return sum(sizes, start=cast(Size, 0))


def _forward_peak(site: _Site) -> Size:
    """Activations alive at once in a step of max_batched_tokens: two rows and the widest block."""
    model, degrees, tokens = site.model, site.degrees, site.limits.max_batched_tokens
    if site.rule.activation_bytes_per_token is not None:
        return tokens * site.rule.activation_bytes_per_token
    shape = model.attention
    if isinstance(shape, GQA):
        attention = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim / degrees.tp
    else:
        attention = shape.num_heads * (shape.qk_nope_head_dim + shape.qk_rope_head_dim) / degrees.tp
    widest = np.maximum(attention, 3 * model.dense_width / degrees.tp)
    if model.experts is not None and degrees.home == "folded":
        rows = degrees.dp / degrees.edp * model.experts.top_k / degrees.ep
        widest = np.maximum(widest, rows * (3 * model.experts.width / degrees.etp + model.hidden))
    return tokens * (widest + 2 * model.hidden) * model.activation_bytes


def _exchange_buffers(site: _Site) -> Size:
    """One send and one receive buffer of the gathered tokens, where tokens are exchanged at all."""
    degrees = site.degrees
    if site.model.experts is None or site.rule.reserve is not None:
        return 0.0
    gathered = site.limits.max_batched_tokens * degrees.dp * site.model.hidden * site.model.activation_bytes
    exchanged = (np.asarray(degrees.dp) > 1) | (degrees.home != "folded")
    return np.where(exchanged, 2 * gathered / degrees.edp, 0.0)


def _runtime(site: _Site) -> Size:
    rule, degrees = site.rule, site.degrees
    if rule.reserve is not None:
        return rule.reserve(degrees, site.model, site.device, site.limits) - _forward_peak(site)
    alone = np.asarray(degrees.tp * degrees.dp * degrees.pp) == 1
    return np.where(alone, rule.runtime_bytes_alone, rule.runtime_bytes_grouped)
