"""Every finding, where it must be and where it must not; and what a known planner gets wrong."""

import numpy as np
import pytest

from shardwright.audit.commands.record import Level
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.model.catalog import find_model
from shardwright.model.kv import kv_bytes_per_token
from shardwright.model.weights import bytes_by_part
from shardwright.units import GB
from tests.audit.commands.table import audited, examined, found

QWEN, LLAMA, DEEPSEEK = "Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-V3"
SGLANG = f"sglang serve --model-path {DEEPSEEK}"
DP8 = f"vllm serve {QWEN} -dp 8 -ep"

CASES: list[tuple[str, str, Level, str]] = [
    ("ep-without-experts", "stops", f"vllm serve {LLAMA} -tp 8 -ep", "H200"),
    ("ep-without-experts", "note", f"sglang serve {LLAMA} --tp 8 --ep 8", "H200"),
    ("eplb-needs-ep", "stops", f"vllm serve {QWEN} --enable-eplb", "H100"),
    ("redundant-need-eplb", "stops", f"{DP8} --eplb-config.num_redundant_experts 8", "H100"),
    ("even-redundant", "stops", f"{DP8} --enable-eplb --eplb-config.num_redundant_experts 2", "H100"),
    ("overlap-needs-exchange", "stops", f"{DP8} --enable-dbo", "H100"),
    ("nodes-divide", "stops", f"vllm serve {QWEN} -tp 4 --nnodes 3", "H100"),
    ("heads", "stops", f"vllm serve {QWEN} -tp 3", "H100"),
    ("layer-each", "stops", f"vllm serve {QWEN} -pp 64", "H100"),
    ("moe-grid", "stops", f"{SGLANG} --tp 2 --ep 4 --pp-size 2 --dp 2", "H200"),
    ("attention-grid", "stops", f"{SGLANG} --tp 8 --attn-dp-size 3", "H200"),
    ("moe-grid", "stops", f"trtllm-serve {QWEN} --tp_size 2 --ep_size 4", "H100"),
    ("ambiguous-flag", "stops", f"{SGLANG} --tp 8 --pp 2", "H200"),
    ("dp-both", "stops", f"{SGLANG} --tp 8 --attn-dp-size 8 --dp-size 2", "H200"),
    ("copies-one-node", "stops", f"{SGLANG} --tp 16 --dp-size 2 --nnodes 2", "H200"),
    ("max-len-beyond-model", "stops", f"vllm serve {QWEN} --max-model-len 1000000", "H100"),
    ("memory", "stops", f"vllm serve {LLAMA} -tp 2", "A100-SXM-64GB"),
    ("max-len-does-not-fit", "stops", f"vllm serve {LLAMA} -tp 2", "H100"),
    ("max-len-does-not-fit", "costs", "sglang serve Qwen/Qwen3-32B", "H100"),
    ("dense-dp-is-copies", "note", f"vllm serve {LLAMA} -tp 4 -dp 2 --max-model-len 8192", "H100"),
    ("kv-copied-by-tp", "costs", f"vllm serve {QWEN} -tp 8", "H100"),
    ("kv-copied-by-tp", "costs", f"{SGLANG} --tp 8", "H200"),
    ("tp-across-nodes", "costs", f"vllm serve {LLAMA} -tp 16", "H100"),
    ("one-node-command", "note", f"{SGLANG} --tp 16", "H200"),
    ("static-share", "note", f"{SGLANG} --tp 8 --mem-fraction-static 0.95", "H200"),
    ("flag-gone", "costs", f"VLLM_ALL2ALL_BACKEND=pplx vllm serve {QWEN}", "H100"),
    ("flag-unknown", "note", f"vllm serve {QWEN} --num-scheduler-steps 8", "H100"),
    ("flag-deprecated", "note", f"{SGLANG} --tp 8 --dp 8 --enable-dp-attention", "H200"),
    ("overlap-costs", "costs", f"{DP8} --enable-dbo --all2all-backend nixl_ep", "H100"),
    (
        "overlap-saves",
        "note",
        f"{SGLANG} --tp 32 --dp 32 --enable-dp-attention --nnodes 4 --node-rank 0 "
        "--dist-init-addr 10.0.0.1:5000 --enable-two-batch-overlap --moe-a2a-backend deepep "
        "--max-running-requests 4096 --context-length 4096",
        "H200",
    ),
    ("eager-not-predicted", "note", f"vllm serve {QWEN} --enforce-eager", "H100"),
]  # fmt: skip


@pytest.mark.parametrize(("id", "level", "text", "gpu"), CASES)
def test_finding(id: str, level: Level, text: str, gpu: str) -> None:
    row = found(text, gpu)[id]
    assert row.level == level
    assert row.sentence and not row.sentence.endswith(".")
    assert row.cure or level != "stops"


def test_a_sound_command_has_none() -> None:
    # 4 KV heads over TP 4, EP 4 over 128 experts, half the memory free.
    assert not found(f"vllm serve {QWEN} -tp 4 -ep --max-model-len 8192")


def test_gpus_too_few_and_too_many() -> None:
    text = f"vllm serve {QWEN} -tp 4"
    assert found(text, gpus=2)["gpus"].numbers == {"excess": 2}
    assert found(text, gpus=8)["idle-gpus"].numbers == {"idle": 4}
    assert found(text, gpus=8)["idle-gpus"].cure == "2 such commands"
    assert not {"gpus", "idle-gpus"} & set(found(text, gpus=4))


def test_load_beyond_the_limits() -> None:
    text = f"vllm serve {QWEN} -tp 2 -dp 4 -ep --max-num-seqs 16 --max-model-len 4096"
    assert examined(text).deployment.workload.batch == 64, "16 on each of 4 attention ranks"
    rows = found(text, workload={"batch": 100})
    assert rows["sequences-limit"].numbers == {"limit": 64}
    assert "idle-ranks" in found(text, workload={"batch": 3})
    big = found(f"vllm serve {LLAMA} -tp 4 --max-model-len 8192", workload={"batch": 900})
    assert big["kv-of-the-load"].numbers["short_gb"] > 0


def test_the_wrong_one_of_sglang_is_explained() -> None:
    audit = audited(f"{SGLANG} --tp 2 --ep 4 --pp 2 --dp 2", "H200", gpus=16)
    assert not audit.runs and audit.layout is None and audit.pool is None
    rule = audit.verdict
    assert rule.sentence.startswith(
        "moe_tp = 2 // 4 = 0, but tp_size 2 must be ep_size x moe_dp_size x moe_tp"
    )
    assert (rule.nearest, rule.nearest_arguments) == (
        "tp2.dp2.pp2/ep4",
        "--tp-size 4 --attn-dp-size 2 --ep-size 4 --pp-size 2",
    )
    assert audit.change is not None and audit.change.gain is None, "nothing to gain on what does not run"


# What AIConfigurator gets wrong: experts not divided by EP, MLA divided by TP, KV unchecked, DP twice.


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_experts_are_divided_by_ep(ranks: int) -> None:
    whole = bytes_by_part(find_model(QWEN))["expert"]
    rows = [examined(f"vllm serve {QWEN} -dp {ranks} {flag}").price.memories for flag in ("-ep", "")]
    for memories in rows:
        assert float(np.asarray(memories[0].expert_weights)) == pytest.approx(whole / ranks, rel=1e-12)


def test_mla_is_not_divided_by_tp() -> None:
    static = f"{SGLANG} --tp 8 --mem-fraction-static 0.85"
    texts = (static, f"{static} --attn-dp-size 8")
    by_tp, by_dp = (examined(text, "H200") for text in texts)
    whole = kv_bytes_per_token(find_model(DEEPSEEK))
    for subject in (by_tp, by_dp):
        assert float(np.asarray(subject.price.memories[0].kv_bytes_per_token)) == whole == 61 * 576 * 2
    assert by_tp.the_layout.num_gpus == by_dp.the_layout.num_gpus == 8
    # Attention DP keeps 8 different caches instead of 8 equal ones.
    assert by_dp.capacity.tokens > 4 * by_tp.capacity.tokens


def test_gqa_is_divided_by_tp_up_to_its_heads() -> None:
    each = [
        float(np.asarray(examined(f"vllm serve {QWEN} -tp {tp}").price.memories[0].kv_bytes_per_token))
        for tp in (1, 2, 4, 8)
    ]
    assert [each[0] / row for row in each] == [1, 2, 4, 4], "4 KV heads"


def test_kv_is_checked_to_the_token() -> None:
    held = examined(f"vllm serve {LLAMA} -tp 2 --max-model-len 4096").capacity.rank_tokens
    assert 4096 < held < 131072
    fits, over = (f"vllm serve {LLAMA} -tp 2 --max-model-len {length}" for length in (held, held + 1))
    assert "max-len-does-not-fit" not in found(fits)
    assert found(over)["max-len-does-not-fit"].numbers == {"held": held, "length": held + 1}


def test_dp_is_counted_once() -> None:
    subject = examined(f"vllm serve {QWEN} -tp 2 -dp 4 -ep", workload={"batch": 128})
    assert subject.layout == Layout(tp=2, dp=4, ep=8)
    assert subject.layout.num_gpus == 8
    assert int(np.asarray(subject.price.sequences)) == 32
    copies = examined(f"vllm serve {LLAMA} -tp 2 -dp 4", "H200", workload={"batch": 128})
    assert (copies.the_layout.num_gpus, int(np.asarray(copies.price.sequences))) == (8, 32)


def test_memory_follows_the_flags() -> None:
    base = examined(f"vllm serve {QWEN} -tp 2").capacity.rank_tokens
    device = examined(f"vllm serve {QWEN} -tp 2").deployment.cluster.device.memory_bytes
    each = kv_bytes_per_token(find_model(QWEN)) / 2
    less = examined(f"vllm serve {QWEN} -tp 2 --gpu-memory-utilization 0.82").capacity.rank_tokens
    assert base - less == pytest.approx(0.1 * device / each, abs=16)
    narrow = examined(f"vllm serve {QWEN} -tp 2 --kv-cache-dtype fp8").capacity.rank_tokens
    assert narrow == pytest.approx(2 * base, abs=32)
    static = examined(f"sglang serve {QWEN} --tp 2 --mem-fraction-static 0.8")
    weights = float(np.asarray(static.price.memories[0].weights))
    assert static.capacity.rank_tokens == int((0.8 * device - weights) // each)
    fp8 = examined(f"vllm serve {QWEN} -tp 2 --quantization fp8").price.memories[0]
    assert float(np.asarray(fp8.expert_weights)) == pytest.approx(weights_of(QWEN, "expert") / 4, rel=1e-9)


def weights_of(name: str, part: str) -> float:
    return bytes_by_part(find_model(name))[part]


def test_defaults_are_the_engine_s() -> None:
    work = examined(f"vllm serve {QWEN} -tp 4").deployment
    assert work.workload.max_model_len == 40960, "all positions, as vLLM takes it"
    assert any("max_model_len" in note for note in work.assumptions)
    assert any("batch: 128" in note for note in work.assumptions)
    short = examined(f"vllm serve {QWEN} --max-model-len 300").deployment.workload
    assert (short.input_tokens, short.output_tokens) == (200, 100)
    stated = examined(f"vllm serve {QWEN}", workload={"batch": 7, "input_tokens": 11, "output_tokens": 5})
    unstated = [note for note in stated.deployment.assumptions if "unstated" in note]
    assert [note.partition(":")[0] for note in unstated] == ["workload.spread"]


def test_the_cluster_follows_the_command() -> None:
    two = examined(f"{SGLANG} --tp 16 --nnodes 2", "H200").deployment.cluster
    assert (two.nodes, two.gpus_per_node) == (2, 8)
    small = examined(f"{SGLANG} --tp 8 --nnodes 2", "H200").deployment.cluster
    assert (small.nodes, small.gpus_per_node) == (2, 4)
    given = examined(f"vllm serve {QWEN}", gpus=16).deployment.cluster
    assert (given.nodes, given.gpus_per_node) == (2, 8)


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        (f"vllm serve {QWEN}", {"cluster": {}}, "--gpu: None is not allowed; expected --gpu"),
        ("vllm serve -tp 2", {}, "model: None is not allowed"),
        ("vllm serve $MODEL", {}, "the variable is not set"),
        ("vllm serve no/such-model", {}, "--model with a catalog name"),
        (f"vllm serve {QWEN} --max-model-len 1", {}, "at least 2 tokens"),
        (f"vllm serve {QWEN} -pp 2", {"variables": "VLLM_PP_LAYER_PARTITION=1,2,3"}, "2 counts, one a stage"),
        (f"vllm serve {QWEN} -pp 2", {"variables": "VLLM_PP_LAYER_PARTITION=40,9"}, "48"),
        (f"sglang serve {LLAMA} --tp 8 --attn-dp-size 2", {}, "attention DP is modelled with experts only"),
        (f"vllm serve {QWEN} -tp 1000 -dp 100000", {}, "product is at most"),
    ],
)
def test_bad_input_says_what_to_give(text: str, more: dict[str, object], message: str) -> None:
    more = dict(more)
    variables = more.pop("variables", "")
    with pytest.raises(InputError, match=message):
        examined(f"{variables} {text}", **more) if "cluster" not in more else _without_gpu(text)


def _without_gpu(text: str) -> None:
    from shardwright.audit.commands.audit import audit_command  # noqa: PLC0415

    audit_command(text, {})


def test_weights_that_do_not_fit_say_by_how_much() -> None:
    row = found(f"vllm serve {LLAMA}", "H100")["memory"]
    # 141 GB of weights against 0.92 of 80 GiB, and what vLLM keeps.
    assert 60 < row.numbers["short_gb"] < 80
    assert sum(bytes_by_part(find_model(LLAMA)).values()) / GB == pytest.approx(141.1, abs=0.1)
