"""What each family calls its tensors, and which of them it holds as one: one row a family."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names in the published checkpoint, where families differ."""

    prefix: str = ""
    mlp: str = "mlp"
    """The dense MLP."""
    moe: str = "mlp"
    router: str = "gate"
    correction: str = "gate.e_score_correction_bias"
    """The selection bias, from within `moe`."""
    correction_is_row: bool = False
    """It is a matrix of one row."""
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    shared: str = "mlp.shared_expert"
    q_norm: str = "q_norm"
    k_norm: str = "k_norm"
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    experts: Literal["single", "pairs", "halves"] = "single"
    """A tensor for each matrix of each expert; or gate_up_proj and down_proj of all, [in, out], gate and up
    interleaved in pairs (gpt-oss) or one after the other (Llama 4)."""
    joined: bool = False
    """q, k and v are one tensor qkv_proj, gate and up of a dense MLP one gate_up_proj (Phi-3)."""
    router_fp32: bool = False
    """The router's matrix is stored in fp32."""


SANDWICH = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
"""A norm before and after attention, and before and after the MLP."""

NAMES: dict[str, Names] = {
    "mixtral": Names(moe="block_sparse_moe", gate="w1", up="w3", down="w2"),
    "deepseek_v2": Names(shared="mlp.shared_experts"),
    "deepseek_v3": Names(shared="mlp.shared_experts"),
    "kimi_k2": Names(shared="mlp.shared_experts"),
    "glm4_moe": Names(shared="mlp.shared_experts"),
    "dots1": Names(shared="mlp.shared_experts"),
    "ernie4_5_moe": Names(
        shared="mlp.shared_experts",
        correction="moe_statics.e_score_correction_bias",
        correction_is_row=True,
        router_fp32=True,
    ),
    "hunyuan_v1_moe": Names(
        shared="mlp.shared_mlp",
        router="gate.wg",
        q_norm="query_layernorm",
        k_norm="key_layernorm",
        router_fp32=True,
    ),
    "minimax_m2": Names(
        moe="block_sparse_moe", gate="w1", up="w3", down="w2", correction="e_score_correction_bias"
    ),
    "gpt_oss": Names(router="router", experts="pairs"),
    "phi3": Names(joined=True),
    "gemma2": Names(norms=SANDWICH),
    "gemma3_text": Names(norms=SANDWICH),
    "gemma3": Names(norms=SANDWICH, prefix="language_model."),
    "mistral3": Names(prefix="language_model."),
    "llama4": Names(
        prefix="language_model.",
        mlp="feed_forward",
        moe="feed_forward",
        router="router",
        shared="feed_forward.shared_expert",
        experts="halves",
    ),
    "llama4_text": Names(
        mlp="feed_forward",
        moe="feed_forward",
        router="router",
        shared="feed_forward.shared_expert",
        experts="halves",
    ),
}
"""Families without a row, such as 'generic', have the names of Qwen3-MoE."""
