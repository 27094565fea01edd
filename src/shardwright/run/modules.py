"""The modules of one rank: classes of transformers, unmodified, built small and filled from slices.

A rank's attention, MLP and experts are the model's own classes, made from a configuration with the rank's
share of heads, widths and experts (their forward passes take shapes from it), on the meta device; then
each parameter is read from the checkpoint by the rank's shards, so that a rank reads only its own bytes.
The classes' constructors are those of transformers 5.23.
"""

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from shardwright.errors import InputError
from shardwright.layout.shards import Shard, rank_shards
from shardwright.model.spec import GQA, ModelSpec
from shardwright.model.weight import Weight
from shardwright.model.weights import CORRECTION_BIAS, weights
from shardwright.run.checkpoint import Checkpoint
from shardwright.run.norm import SummedRmsNorm
from shardwright.run.seat import Seat

EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""What families call the number of experts."""


@dataclass(kw_only=True)
class LayerModules:
    """The parts of one layer that a rank holds; None where it holds none."""

    input_norm: nn.Module | None = None
    attention: nn.Module | None = None
    mlp_norm: nn.Module | None = None
    mlp: nn.Module | None = None
    router: nn.Module | None = None
    shared: nn.Module | None = None
    experts: nn.Module | None = None


@dataclass(kw_only=True)
class RankModules:
    """Everything that a rank holds. embedding, head: [local vocabulary, hidden]."""

    layers: dict[int, LayerModules] = field(default_factory=dict)
    embedding: Tensor | None = None
    final_norm: nn.Module | None = None
    head: Tensor | None = None
    rotary: nn.Module | None = None
    num_loaded: int = 0
    """Elements read from the checkpoint."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters and buffers that came from the checkpoint."""
        outer = {id(t): t for t in (self.embedding, self.head) if t is not None}.values()
        modules = [self.final_norm] if self.final_norm is not None else []
        for layer in self.layers.values():
            modules += [part for part in vars(layer).values() if part is not None]
        inner = [tensor for module in modules for tensor in _tensors(module).values()]
        return sum(tensor.nbytes for tensor in (*outer, *inner))


def build_modules(
    seat: Seat,
    model: ModelSpec,
    config: PreTrainedConfig,
    whole: Any,
    checkpoint: Checkpoint,
    device: torch.device,
) -> RankModules:
    """The modules of `seat`, filled.

    config: of the whole model; its dtype is the rank's. whole: the decoder that transformers makes of it,
    on the meta device.
    """
    table = weights(model)
    shards = rank_shards(table, seat.seats.grid, seat.seats.stage_layers, seat.rank)
    dtype: Any = config.dtype
    loader = _Loader(shards, table, checkpoint, dtype, device)
    built = RankModules()
    for stage in seat.stages:
        for layer in seat.layers(stage):
            built.layers[layer] = _layer(seat, model, config, whole.layers[layer], layer, loader)
    if seat.role != "experts":
        built.rotary = type(whole.rotary_emb)(config).to(device)
        if seat.is_first:
            built.embedding = loader.take(lambda shard: shard.weight.part == "embedding")
        if seat.is_last:
            built.final_norm = loader.fill(copy.deepcopy(whole.norm), "norm", layer=None)
            held_here = model.tied_embeddings and seat.is_first
            built.head = built.embedding if held_here else loader.take(lambda s: s.weight.part == "head")
    built.num_loaded = loader.num_loaded
    return built


def _layer(
    seat: Seat, model: ModelSpec, config: PreTrainedConfig, whole: Any, layer: int, loader: "_Loader"
) -> LayerModules:
    layout, parts = seat.layout, LayerModules()
    sparse = model.layer_shapes[layer].mlp == "moe"
    if seat.role != "experts":
        first = next(iter(seat.layers(seat.stages[0])))
        parts.attention = _attention(model, config, whole.self_attn, layer, layer - first, layout.tp, loader)
        parts.input_norm = loader.fill(copy.deepcopy(whole.input_layernorm), "input_layernorm", layer=layer)
        parts.mlp_norm = loader.fill(
            copy.deepcopy(whole.post_attention_layernorm), "post_attention_layernorm", layer=layer
        )
        if not sparse:
            parts.mlp = loader.fill(_mlp(config, whole.mlp, layout.tp), "mlp", layer=layer)
        else:
            router = whole.mlp.router if hasattr(whole.mlp, "router") else whole.mlp.gate
            parts.router = loader.fill(copy.deepcopy(router), "(gate|router)", layer=layer)
            if hasattr(whole.mlp, "shared_experts"):
                shared = _shared(config, whole.mlp.shared_experts, layout.tp)
                parts.shared = loader.fill(shared, "shared_experts", layer=layer)
    if sparse and seat.slots:
        parts.experts = loader.fill_experts(_experts(config, whole.mlp.experts, seat), layer)
    return parts


def _attention(
    model: ModelSpec,
    config: PreTrainedConfig,
    whole: Any,
    layer: int,
    cache_index: int,
    tp: int,
    loader: "_Loader",
) -> nn.Module:
    """cache_index: the layer's place in the rank's KV cache, which starts at 0 in every stage."""
    local = copy.deepcopy(config)
    if isinstance(model.attention, GQA):
        local.head_dim = model.attention.head_dim
        local.num_key_value_heads = max(1, model.attention.num_kv_heads // tp)
    else:
        local.num_key_value_heads = config.num_key_value_heads // tp
    local.num_attention_heads = config.num_attention_heads // tp
    with torch.device("meta"):
        module: Any = type(whole)(local, layer)
    if isinstance(model.attention, GQA) and model.attention.qk_norm == "full":
        for name, heads in (("q_norm", local.num_attention_heads), ("k_norm", local.num_key_value_heads)):
            width = heads * model.attention.head_dim
            setattr(module, name, SummedRmsNorm(width, width * tp, getattr(whole, name).variance_epsilon))
    module = loader.fill(module, "self_attn", layer=layer)
    module.layer_idx = cache_index
    return module


def _mlp(config: PreTrainedConfig, whole: Any, tp: int) -> nn.Module:
    local = copy.deepcopy(config)
    local.intermediate_size = config.intermediate_size // tp
    with torch.device("meta"):
        if config.model_type == "qwen3_moe":  # its MLP takes the width by itself
            return type(whole)(local, local.intermediate_size)
        return type(whole)(local)


def _shared(config: PreTrainedConfig, whole: Any, tp: int) -> nn.Module:
    width = config.moe_intermediate_size * config.n_shared_experts // tp
    with torch.device("meta"):
        return type(whole)(config=config, intermediate_size=width)


def _experts(config: PreTrainedConfig, whole: Any, seat: Seat) -> nn.Module:
    local = copy.deepcopy(config)
    for name in ("moe_intermediate_size", "intermediate_size"):
        if getattr(config, name, None):
            setattr(local, name, getattr(config, name) // seat.layout.etp)
    for name in EXPERT_COUNTS:
        if hasattr(config, name):
            setattr(local, name, len(seat.slots))
    with torch.device("meta"):
        module: Any = type(whole)(local)
    module.num_experts = len(seat.slots)
    return module


class _Loader:
    """Puts a rank's slices into its modules."""

    def __init__(
        self,
        shards: Iterable[Shard],
        whole: Iterable[Weight],
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_loaded = 0
        self._shards, self._whole = list(shards), list(whole)
        self._checkpoint, self._dtype, self._device = checkpoint, dtype, device

    def take(self, wanted: Callable[[Shard], bool]) -> Tensor:
        """The one tensor of the rank that is wanted."""
        (shard,) = filter(wanted, self._shards)
        return self._read(shard)

    def fill(self, module: nn.Module, path: str, *, layer: int | None) -> nn.Module:
        """Fill every parameter and buffer of the module with the tensor whose name ends in path.name.

        A value that lives on rank 0 of its axis is zero elsewhere, since outputs are summed.
        """
        for name, tensor in _tensors(module).items():
            pattern = re.compile(rf"(^|\.){path}\.{re.escape(name)}$")
            found = [s for s in self._shards if s.weight.layer == layer and pattern.search(s.name)]
            assert len(found) <= 1, (path, name, found)
            if not found and not any(w.layer == layer and pattern.search(w.name) for w in self._whole):
                allowed = f"a row of the weight table: transformers has one more in {type(module).__name__}"
                raise InputError("tensor", f"{path}.{name}", allowed, where=f"layer {layer}")
            value = self._read(found[0]) if found else self._zeros(tensor)
            _place(module, name, value, like=tensor)
        return module.eval()

    def fill_experts(self, module: nn.Module, layer: int) -> nn.Module:
        """Fill the fused tensors of the rank's slots: from one tensor an expert, or from fused ones."""
        own = [shard for shard in self._shards if shard.weight.layer == layer and shard.slot is not None]
        slots = sorted({shard.slot for shard in own if shard.slot is not None})
        for name, tensor in _tensors(module).items():
            rows = [self._expert_rows(name, [s for s in own if s.slot == slot], tensor) for slot in slots]
            _place(module, name, torch.stack(rows), like=tensor)
        return module.eval()

    def _expert_rows(self, name: str, shards: list[Shard], like: Tensor) -> Tensor:
        """One slot's part of a fused parameter of transformers: [gate; up] rows, or a tensor of its own."""
        fused = [shard for shard in shards if shard.name.endswith(f".{name}")]
        if fused:
            return self._read(fused[0]).squeeze(0)
        halves = {"gate_up_proj": (r"(gate_proj|w1)", r"(up_proj|w3)"), "down_proj": (r"(down_proj|w2)",)}
        if name not in halves:
            return self._zeros(like[0])
        parts = [
            self._read(next(s for s in shards if re.search(rf"\.{half}\.weight$", s.name)))
            for half in halves[name]
        ]
        return torch.cat(parts)

    def _read(self, shard: Shard) -> Tensor:
        value = self._checkpoint.read(shard.name, shard.slices, shape=shard.weight.tensor_shape)
        self.num_loaded += value.numel()
        # Correction biases stay in fp32 in every model; all else follows the rank's dtype.
        kept = shard.name.endswith(CORRECTION_BIAS)
        return value.to(device=self._device, dtype=torch.float32 if kept else self._dtype)

    def _zeros(self, like: Tensor) -> Tensor:
        return torch.zeros(like.shape, dtype=self._dtype, device=self._device)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name."""
    return dict(module.state_dict(keep_vars=True))


def _place(module: nn.Module, name: str, value: Tensor, *, like: Tensor) -> None:
    assert value.shape == like.shape, (name, value.shape, like.shape)
    owner: Any = module.get_submodule(name.rpartition(".")[0])
    leaf = name.rpartition(".")[2]
    is_parameter = leaf in owner._parameters
    setattr(owner, leaf, nn.Parameter(value, requires_grad=False) if is_parameter else value)
