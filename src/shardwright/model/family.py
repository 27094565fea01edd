"""How the config.json of each family (a `model_type`) is read: one row a family."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from shardwright.model.attention import (
    Windows,
    chunks,
    even_layers_before,
    every_layer,
    gqa,
    in_turn,
    later_layers,
    mla,
    no_windows,
)
from shardwright.model.experts import (
    ExpertFields,
    dense_around,
    dense_between,
    dense_first,
    dense_interleaved,
    dense_nowhere,
)
from shardwright.model.fields import Fields
from shardwright.model.spec import GQA, MLA


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the config.json of one model_type is read."""

    attention: Callable[[Fields], GQA | MLA]
    windows: Callable[[Fields, int], Windows] = no_windows
    experts: ExpertFields | None = None
    dense_layers: Callable[[Fields, int], tuple[int, ...]] = dense_nowhere
    """The layers without experts, in a family that has them."""
    dense_width: str = "intermediate_size"
    """The field that states the width of a dense MLP."""
    mlp_bias: Literal["", "mlp_bias"] = ""
    """The field that says whether dense MLPs have biases, in a family that has such a field."""
    false: tuple[str, ...] = ()
    """Flags that must not be set: what they switch on is not modelled."""


_plain = partial(gqa, bias="none")
_normed = partial(gqa, qk_norm="head")

_routed = ExpertFields(number=("n_routed_experts",), width="moe_intermediate_size", shared="n_shared_experts")
_selected = ExpertFields(
    number=("n_routed_experts",),
    width="moe_intermediate_size",
    shared="n_shared_experts",
    correction_bias=True,
)
_deepseek_v3 = Family(attention=mla, experts=_selected, dense_layers=dense_first)
_llama4 = Family(
    attention=gqa,
    windows=chunks,
    experts=ExpertFields(number=("num_local_experts",), width="intermediate_size", always_shared=1),
    dense_layers=dense_interleaved,
    dense_width="intermediate_size_mlp",
)

FAMILIES: dict[str, Family] = {
    "llama": Family(attention=gqa, mlp_bias="mlp_bias"),
    "mistral": Family(attention=_plain, windows=every_layer),
    "mixtral": Family(
        attention=_plain,
        windows=every_layer,
        experts=ExpertFields(number=("num_local_experts",), width="intermediate_size"),
    ),
    "qwen2": Family(
        attention=partial(gqa, bias="qkv"), windows=partial(later_layers, switch="use_sliding_window")
    ),
    "qwen2_moe": Family(
        attention=partial(gqa, bias="qkv"),
        windows=partial(even_layers_before, switch="use_sliding_window"),
        experts=ExpertFields(
            number=("num_experts", "num_local_experts"),
            width="moe_intermediate_size",
            shared_width="shared_expert_intermediate_size",
            shared_gate=True,
        ),
        dense_layers=dense_between,
    ),
    "qwen3": Family(attention=_normed, windows=partial(later_layers, switch="use_sliding_window")),
    "qwen3_moe": Family(
        attention=_normed,
        windows=partial(every_layer, switch="use_sliding_window"),
        experts=ExpertFields(number=("num_experts", "num_local_experts"), width="moe_intermediate_size"),
        dense_layers=dense_between,
    ),
    # clip_qkv clips values one by one: it adds no weight and no traffic.
    "olmoe": Family(
        attention=partial(gqa, qk_norm="full"),
        experts=ExpertFields(number=("num_experts", "num_local_experts"), width="intermediate_size"),
    ),
    "deepseek_v2": Family(attention=mla, experts=_routed, dense_layers=dense_first),
    "deepseek_v3": _deepseek_v3,
    # DeepSeek-V3's model under a name of its own (configuration of moonshotai/Kimi-K2-Instruct).
    "kimi_k2": _deepseek_v3,
    "gpt_oss": Family(
        attention=partial(gqa, sinks=True),
        windows=partial(in_turn, full_each=2),
        experts=ExpertFields(
            number=("num_local_experts", "num_experts"), width="intermediate_size", bias=True
        ),
    ),
    "gemma2": Family(attention=gqa, windows=partial(in_turn, full_each=2)),
    "gemma3_text": Family(attention=_normed, windows=partial(in_turn, full_each=6)),
    "phi3": Family(attention=_plain, windows=every_layer),
    "granite": Family(attention=gqa, mlp_bias="mlp_bias"),
    "llama4_text": _llama4,
    "glm4_moe": Family(
        attention=partial(gqa, bias="stated_qkv", qk_norm="stated"),
        experts=_selected,
        dense_layers=dense_first,
    ),
    "minimax_m2": Family(
        attention=partial(gqa, bias="none", qk_norm="full"),
        experts=ExpertFields(number=("num_local_experts",), width="intermediate_size", correction_bias=True),
    ),
    "ernie4_5": Family(attention=_plain, false=("use_bias",)),
    "ernie4_5_moe": Family(
        attention=_plain,
        experts=ExpertFields(
            number=("moe_num_experts",),
            width="moe_intermediate_size",
            top_k="moe_k",
            shared="moe_num_shared_experts",
            correction_bias=True,
        ),
        dense_layers=dense_around,
        false=("use_bias",),
    ),
    "hunyuan_v1_moe": Family(
        attention=_normed,
        experts=ExpertFields(
            number=("num_experts",),
            width="intermediate_size",
            top_k="moe_topk",
            shared="num_shared_expert",
            always_shared=1,
        ),
    ),
    "dots1": Family(attention=_normed, windows=later_layers, experts=_selected, dense_layers=dense_first),
}
