"""Plans of a tiny model on a CPU, without torch: the model of `python -m shardwright.run.tiny served`."""

import json
from pathlib import Path
from typing import Any

import yaml

from shardwright.plan.deployment import Deployment, read_deployment
from shardwright.plan.plan import Plan
from shardwright.plan.strategy import resolve_layout
from shardwright.search.search import plan_for

CONFIG = {
    "model_type": "qwen3_moe",
    "dtype": "float32",
    "vocab_size": 264,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "moe_intermediate_size": 64,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [0],
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}

CPU: dict[str, Any] = {
    "gpu": {
        "name": "cpu",
        "memory_bytes": "2 GiB",
        "memory_bandwidth_bytes_per_s": 1.0e10,
        "peak_flops": {"bf16": 1.0e10, "fp32": 1.0e10},
        "num_sms": 1,
        "scale_up_gpus": 2,
        "node_gpus": 2,
    },
    "scale_up": {"name": "loopback", "bandwidth_bytes_per_s": 1.0e9, "latency_s": 1.0e-4},
    "nodes": 1,
    "gpus_per_node": 2,
}
"""Processes of this machine as the GPUs of a node. Its speed is nobody's: no figure here rests on it."""


def deployment_file(folder: Path, layout: str, **fields: Any) -> Path:
    """A deployment of the tiny model, beside the model's folder."""
    model = folder / "tiny"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    values = {
        "model": "tiny",
        "cluster": CPU,
        "workload": {"batch": 4, "input_tokens": 64, "output_tokens": 32, "max_model_len": 256},
        "engine": "vllm@0.32",
        "layout": layout,
        **fields,
    }
    file = folder / "deployment.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def tiny_plan(folder: Path, layout: str, **fields: Any) -> Plan:
    """The plan of that deployment."""
    deployment: Deployment = read_deployment(deployment_file(folder, layout, **fields))
    assert deployment.layout is not None
    return plan_for(deployment, resolve_layout(deployment, deployment.layout)[0], reason="stated")
