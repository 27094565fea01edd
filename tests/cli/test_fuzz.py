"""2,000 mutated deployment files, configs and strategy strings: a message and status 2, or a real answer."""

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.run import Outcome, shardwright

DEPLOYMENT: dict[str, Any] = {
    "name": "fuzzed",
    "model": {
        "num_layers": 2,
        "hidden": 64,
        "vocab": 100,
        "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16},
        "experts": {"num_experts": 4, "top_k": 2, "width": 32},
    },
    "cluster": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2},
    "workload": {"batch": 4, "input_tokens": 16, "output_tokens": 8, "max_model_len": 64},
    "targets": {"tpot_ms": 50, "throughput_tokens_per_s": 100, "communication_fraction": 0.5},
    "objective": "latency",
    "reserve": {"gpus": 0},
    "engine": "vllm",
    "claims": {"gpus": 2, "memory_gb": 3.0, "strategies": [{"layout": "TP2-EP2", "gpus": 2}]},
    "assumptions": ["a sentence"],
}
DENSE: dict[str, Any] = {
    **DEPLOYMENT,
    "model": {
        "num_layers": 3,
        "hidden": 64,
        "vocab": 100,
        "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16},
        "dense_width": 128,
    },
    "layout": "TP2-DP2",
    "engine": "any",
}
OWN_GPU: dict[str, Any] = {
    **DEPLOYMENT,
    "model": {**DEPLOYMENT["model"], "num_layers": 4, "dense_width": 96, "dense_layers": [0, 2]},
    "cluster": {
        "gpu": {
            "name": "mine",
            "memory_bytes": "24 GB",
            "memory_bandwidth_bytes_per_s": 1.0e12,
            "peak_flops": {"bf16": 1.0e14, "fp8": 2.0e14},
            "num_sms": 80,
        },
        "nodes": 2,
        "gpus_per_node": 2,
        "scale_up": {"bandwidth_bytes_per_s": 3.0e10, "latency_s": 1.0e-6},
    },
    "workload": {**DEPLOYMENT["workload"], "routing": {"kind": "zipf", "exponent": 0.8}},
    "layout": "tp2/ep2.x2",
}
BASES = (DEPLOYMENT, DENSE, OWN_GPU)

CONFIG: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
JUNK: list[Any] = [
    *[None, True, False, 0, -1, 1, 3, 7, 10**9, 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf")],
    *["", "x", "8", "TP2", "auto", "../etc", "\x00", "é" * 300, "$(reboot)", "`id`", "[red]x[/red]"],
    *[[], {}, [1, 2], {"a": 1}, {"gpu": {"name": "mine"}}, [[[]]], {"kind": "mla"}],
]


def mutate(values: Any, chance: random.Random) -> Any:
    """A copy with one place replaced, removed or added."""
    copy = json.loads(json.dumps(values))
    place = copy
    while True:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
            place = inner
            continue
        break
    action = chance.random()
    if action < 0.65:
        place[key] = chance.choice(JUNK)
    elif action < 0.85:
        del place[key]
    elif isinstance(place, dict):
        place[chance.choice(["extra", "Model", "tp", "1", ""])] = chance.choice(JUNK)
    else:
        place.append(chance.choice(JUNK))
    return copy


def corrupt(text: str, chance: random.Random) -> str:
    """The text with a stretch cut, doubled or overwritten."""
    at, length = chance.randrange(len(text)), chance.randrange(1, 12)
    middle = chance.choice(
        ["", text[at : at + length] * 2, "".join(chance.choices(string.printable, k=length))]
    )
    return text[:at] + middle + text[at + length :]


def check(outcome: Outcome, case: str) -> int:
    """One message on bad input, an answer else; never a traceback. `auto` may find no GPU: status 3."""
    assert outcome.status in (0, 1, 2) or (outcome.status == 3 and "cluster: auto" in outcome.err), (
        case,
        outcome,
    )
    assert "Traceback" not in outcome.err + outcome.out, case
    if outcome.status in (2, 3):
        assert outcome.err.strip() and not outcome.out, (case, outcome)
        assert outcome.err.count("shardwright: ") == 1 and len(outcome.err) < 2000, (case, outcome.err)
        assert len(outcome.err.strip().splitlines()) == 1, (case, outcome.err)
    else:
        assert outcome.out or outcome.err, case
    return outcome.status


@pytest.mark.parametrize("part", range(4))
def test_deployment_files(part: int, tmp_path: Path) -> None:
    chance = random.Random(part)
    file, refused = tmp_path / "deployment.yaml", 0
    for _ in range(225):
        values = mutate(chance.choice(BASES), chance)
        if chance.random() < 0.3:
            values = mutate(values, chance)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        if chance.random() < 0.3:
            text = corrupt(text, chance)
        file.write_text(text, encoding="utf-8")
        verb = chance.choice(["plan", "plan", "explain", "audit"])
        more = ["--layout=TP2-EP2"] if verb == "audit" and chance.random() < 0.5 else []
        refused += check(shardwright(verb, str(file), *more), text) == 2
    assert 60 < refused < 215, refused


@pytest.mark.parametrize("part", range(2))
def test_model_configs(part: int, tmp_path: Path) -> None:
    chance = random.Random(100 + part)
    config, refused = tmp_path / "config.json", 0
    for _ in range(250):
        text = json.dumps(mutate(CONFIG, chance))
        if chance.random() < 0.3:
            text = corrupt(text, chance)
        config.write_text(text, encoding="utf-8")
        arguments = ["--gpu", "H100", "--gpus", "2", "--batch", "4", "--input-tokens", "8"]
        outcome = shardwright("plan", "--model", str(tmp_path), *arguments, "--output-tokens", "8")
        refused += check(outcome, text) == 2
    assert 60 < refused < 240, refused


@pytest.mark.parametrize("part", range(3))
def test_strategy_strings(part: int, tmp_path: Path) -> None:
    chance = random.Random(200 + part)
    file, refused = tmp_path / "deployment.yaml", 0
    file.write_text(yaml.safe_dump(DEPLOYMENT), encoding="utf-8")
    seeds = ["TP2-EP2", "tp2/ep2", "dp2/ep2", "tp1+ep1", "TP2-EP4-PP2-DP2", "tp1/ep1.x2", "tp1.pp2:1:1/ep1"]
    for _ in range(200):
        text = corrupt(chance.choice(seeds), chance)
        if chance.random() < 0.2:
            text = "".join(chance.choices(string.printable + "²é０", k=chance.randrange(30)))
        verb = chance.choice(["plan", "explain", "audit"])
        refused += check(shardwright(verb, str(file), f"--layout={text}"), repr((verb, text))) == 2
    assert 60 < refused < 200, refused
