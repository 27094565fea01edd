"""Tiny checkpoints of random weights, one a family, made in a tenth of a second.

Norms, biases, sinks and correction biases are drawn like all else: where they are ones and zeros, as
transformers initialises them, a bias that is added once a rank too often changes nothing.

    python -m shardwright.run.tiny mixtral folder
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING

from shardwright.errors import InputError, ShardwrightError
from shardwright.run.checkpoint import model_class, quiet

SPECIAL = ("<pad>", "<bos>", "<eos>", *(f"<reserved_{number}>" for number in range(5)))
NUM_TOKENS = len(SPECIAL) + 256
"""Special tokens, then one token a byte: 8 x 33, so that a vocabulary divides over 8 ranks."""

TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    **dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=False)),
}

COMMON: dict[str, Any] = {
    "vocab_size": NUM_TOKENS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "dtype": "float32",
}
_LATENT = {
    "num_key_value_heads": 8,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {
        "head_dim": 16,
        "moe_intermediate_size": 32,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [0],
    },
    "olmoe": {"num_experts": 8, "num_experts_per_tok": 2},
    "deepseek_v2": {
        **_LATENT,
        "q_lora_rank": None,
        "topk_method": "group_limited_greedy",
        "n_shared_experts": 2,
    },
    "deepseek_v3": {**_LATENT, "q_lora_rank": 24, "n_shared_experts": 1, "attention_bias": True},
    "gpt_oss": {
        "head_dim": 16,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    },
}
"""What each family's configuration has beside, or in place of, COMMON; the key is its model_type."""

REFERENCE: dict[str, Any] = {
    "vocab_size": 512,
    "intermediate_size": 36,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 2,
    "num_local_experts": 64,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}
"""The model of examples/reference.yaml as a Mixtral: its counts, and 1/64 of its widths and vocabulary
(hidden 4096, experts of 2304, heads of 128; 500 tokens, rounded up to a power of two)."""

SERVED: dict[str, Any] = {
    **FAMILIES["qwen3_moe"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "moe_intermediate_size": 64,
}
"""A Qwen3-MoE that vLLM serves on a CPU with TP 2: heads of 32, and experts whose halves are 32 wide (vLLM
0.32.0, v1/attention/backends/cpu_attn.py, model_executor/layers/fused_moe/experts/cpu_moe.py:67)."""

SHAPED: dict[str, tuple[str, dict[str, Any]]] = {
    "reference": ("mixtral", REFERENCE),
    "served": ("qwen3_moe", SERVED),
}
"""Checkpoints of one shape, beside the families: their model_type, and what they state."""

NAMES = (*FAMILIES, *SHAPED)

DRAWN: tuple[tuple[str, float, float], ...] = (
    ("e_score_correction_bias", 0.0, 0.05),
    ("bias", 0.0, 0.3),
    ("sinks", 0.0, 0.3),
    ("norm", 1.0, 0.15),
    ("", 0.0, 0.15),
)
"""A word in a tensor's name, the first that is there -> mean and deviation of its normal distribution."""


def make_tiny(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write the tiny checkpoint of a family (at most 0.8 M weights, fp32) and a tokenizer; gives `folder`.

    'reference' has the reference model's shape (7 M weights), 'served' one that vLLM serves on a CPU.

    The same seed writes the same bytes. Raises InputError for a name that NAMES lacks, and for a folder that
    cannot be made.
    """
    if family not in NAMES:
        raise InputError("family", family, f"one of {', '.join(NAMES)}")
    kind, stated = SHAPED.get(family) or (family, FAMILIES[family])
    return make_checkpoint(kind, stated, folder, seed)


def byte_tokenizer() -> Tokenizer:
    """A token a byte, so that any text is read and written back; the special tokens have the ids 0 to 7."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def make_checkpoint(family: str, stated: dict[str, Any], folder: Path, seed: int) -> Path:
    """Model and tokenizer, the tensors under the names of a published checkpoint."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("folder", str(folder), f"a folder that can be made ({error.strerror})") from error
    config = CONFIG_MAPPING[family](**{**COMMON, **stated})
    with torch.device("meta"):
        model = model_class(config)(config)
    model.to_empty(device="cpu")
    model.tie_weights()
    _draw(model, torch.Generator().manual_seed(seed))
    with quiet():
        model.save_pretrained(folder)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2))
    return folder


@torch.no_grad()
def _draw(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw every tensor that a checkpoint holds, parameters and buffers, in the order of the model."""
    for name, tensor in model.state_dict().items():
        mean, deviation = next((mean, deviation) for word, mean, deviation in DRAWN if word in name)
        tensor.normal_(mean, deviation, generator=generator)


def main(words: list[str] | None = None) -> int:
    """Make the checkpoint that the command line names; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shardwright.run.tiny")
    parser.add_argument("family", choices=NAMES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    stated = parser.parse_args(words)
    try:
        make_tiny(stated.family, stated.folder, seed=stated.seed)
    except ShardwrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
