"""Flags as each server reads them: spellings, last wins, files, bad values, what is set aside."""

from pathlib import Path
from typing import Any

import pytest

from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.reading import Arguments, read_arguments
from shardwright.engine.commands.script import find_invocation
from shardwright.engine.commands.server import known
from shardwright.errors import InputError


def read(text: str, folder: Path = Path()) -> Arguments:
    return read_arguments(find_invocation(text, SERVERS, folder))


def settings(text: str) -> dict[str, Any]:
    return {name: value for name, value in read(text).settings.items() if name != "model"}


SPELLINGS = [
    ("vllm serve M --tensor-parallel-size 2", {"tp": 2}),
    ("vllm serve M --tensor-parallel-size=2", {"tp": 2}),
    ("vllm serve M --tensor_parallel_size 2", {"tp": 2}),
    ("vllm serve M --tensor-parallel 2", {"tp": 2}),
    ("vllm serve M -tp 2", {"tp": 2}),
    ("vllm serve M -tp=2", {"tp": 2}),
    ("vllm serve M -tp 2 -tp 4", {"tp": 4}),
    ("vllm serve M -ep", {"expert_parallel": True}),
    ("vllm serve M -ep --no-enable-expert-parallel", {"expert_parallel": False}),
    ("vllm serve M --no-enable-prefix-caching", {}),
    ("vllm serve M --max-model-len 8k", {"max_model_len": 8000}),
    ("vllm serve M --max-model-len 8K", {"max_model_len": 8192}),
    ("vllm serve M --max-num-batched-tokens 25.6k", {"max_batched_tokens": 25600}),
    ("vllm serve M --max-model-len auto", {}),
    ("vllm serve M --max-model-len -1", {}),
    ("vllm serve M --eplb-config.num_redundant_experts 32", {"redundant": 32}),
    ("vllm serve M --eplb_config.num_redundant_experts=32", {"redundant": 32}),
    ("""vllm serve M --eplb-config '{"num_redundant_experts": 32, "window_size": 9}'""", {"redundant": 32}),
    ("vllm serve M --gpu-memory-utilization .9", {"utilisation": 0.9}),
    ("vllm serve M --kv-cache-dtype fp8_e4m3", {"kv_dtype": "fp8"}),
    ("vllm serve M --kv-cache-dtype turboquant_k8v4", {}),
    (
        "vllm serve M --all2all-backend deepep_low_latency --enable-dbo",
        {"exchange": "deepep_low_latency", "overlap": True},
    ),
    ("vllm serve M -q fp8", {"weight_dtype": "fp8"}),
    ("VLLM_PP_LAYER_PARTITION=9,7 vllm serve M", {"stage_layers": (9, 7)}),
    ("vllm serve M -pcp 1", {}),
    ("sglang serve M --tp 4", {"tp": 4}),
    ("sglang serve M --tp-size 4 --ep 2 --dp=2", {"tp": 4, "ep": 2, "replicas": 2}),
    ("sglang serve M --attn-dp-size 2 --moe-a2a-backend none", {"attn_dp": 2, "exchange": "gather"}),
    (
        "sglang serve M --mem-fraction-static 0.85 --max-running-requests 64",
        {"utilisation": 0.85, "max_sequences": 64},
    ),
    ("sglang serve M --chunked-prefill-size -1", {}),
    ("trtllm-serve M --tp_size 8 --moe_expert_parallel_size 4", {"tp": 8, "ep": 4}),
    ("trtllm-serve M --kv_cache_free_gpu_memory_fraction 0.75", {"utilisation": 0.75}),
]


@pytest.mark.parametrize(("text", "expected"), SPELLINGS)
def test_spellings(text: str, expected: dict[str, Any]) -> None:
    assert settings(text) == expected


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("vllm serve --trust-remote-code --port 80 Qwen/Qwen3-8B -tp 2", "Qwen/Qwen3-8B"),
        ("vllm serve --model Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("vllm serve --model=Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("sglang serve --model Qwen/Qwen3-8B --trust-remote", "Qwen/Qwen3-8B"),
        ("trtllm-serve --tp_size 2 Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ],
)
def test_the_model_with_and_without_a_flag(text: str, model: str) -> None:
    assert read(text).settings["model"] == model


BAD = [
    ("vllm serve M -tp 0", "-tp: '0' is not allowed; expected a whole number from 1 to 10,000,000"),
    ("vllm serve M -tp two", "-tp: 'two'"),
    ("vllm serve M -tp", "-tp: None is not allowed; expected a value behind it"),
    ("vllm serve M -tp -dp 2", "-tp: None"),
    ("vllm serve M -tp 2.5", "-tp: '2.5'"),
    ("vllm serve M -tp $TP", "-tp: '\\$TP' is not allowed; expected a value: the variable is not set"),
    ("vllm serve M --gpu-memory-utilization 1.5", "a fraction above 0 and up to 1"),
    ("vllm serve M --gpu-memory-utilization nan", "a fraction above 0"),
    ("vllm serve M --enable-expert-parallel=true", "no value: it is a switch"),
    ("vllm serve M --kv-cache-dtype fp9", "one of float16, bfloat16, fp8"),
    ("vllm serve M --all2all-backend nccl", "--all2all-backend: 'nccl' is not allowed; expected one of"),
    ("vllm serve M --eplb-config '{'", "--eplb-config: '{' is not allowed; expected JSON"),
    ("vllm serve M --eplb-config.num_redundant_experts -4", "num_redundant_experts: '-4'"),
    ("vllm serve M -dcp 2", "-dcp: '2' is not allowed; expected 1: context parallelism is not modelled"),
    ("vllm serve M --max-model-len 8.5K", "tokens, such as 8192, 8k or 8K"),
    ("VLLM_PP_LAYER_PARTITION=9,x vllm serve M", "VLLM_PP_LAYER_PARTITION: 'x'"),
    ("sglang serve M --attn-cp-size 2", "context parallelism is not modelled"),
    (
        "trtllm-serve M --config missing.yaml",
        "--config: 'missing.yaml' is not allowed; expected a readable file",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_value_names_flag_value_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text)


def test_what_is_set_aside_says_why() -> None:
    rows = read(
        "VLLM_ALL2ALL_BACKEND=pplx HOME=/root vllm serve M --port 80 --made-up 3 --num-scheduler-steps 8 "
        "--dtype auto -cc.pass_config.x=True -O3"
    ).ignored
    assert {row.flag: (row.value, row.why) for row in rows} == {
        "VLLM_ALL2ALL_BACKEND": ("pplx", "gone"),
        "--port": ("80", "not considered"),
        "--made-up": ("3", "unknown"),
        "--num-scheduler-steps": ("8", "unknown"),
        "--dtype": ("auto", "no effect"),
        "-cc.pass_config.x": ("True", "not considered"),
        "-O": ("3", "not considered"),
    }


def test_a_name_that_several_flags_begin_with() -> None:
    # argparse stops at --pp, which begins three flags of SGLang 0.5.23.
    found = read("sglang serve M --pp 2")
    assert found.settings["pp"] == 2
    assert [(row.flag, row.read_as, len(row.could_be)) for row in found.ambiguous] == [
        ("--pp", "--pp-size", 3)
    ]
    assert not read("sglang serve M --pp-size 2 --tp 2 --dp 2 --ep 2").ambiguous


def test_precedence_of_files() -> None:
    head = "cat <<EOF > c.yaml\ntensor_parallel_size: 4\nno-enable-dbo: true\nmax_num_tokens: 100\nEOF\n"
    assert settings(f"{head}vllm serve M -tp 2 --config c.yaml") == {"tp": 2, "overlap": False}
    assert settings(f"{head}trtllm-serve M --tp_size 2 --config c.yaml") == {
        "tp": 4,
        "max_batched_tokens": 100,
    }
    nested = "cat <<EOF > c.yaml\nkv_cache_config: {free_gpu_memory_fraction: 0.5, dtype: fp8}\nEOF\n"
    expected = {"utilisation": 0.5, "kv_dtype": "fp8"}
    assert settings(f"{nested}trtllm-serve M --extra_llm_api_options c.yaml") == expected


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "- 1", "a: [", "\x00", "? [b]\n: 2"])
def test_a_file_that_is_no_mapping(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=r"--config: 'c\.yaml'"):
        read("trtllm-serve M --config c.yaml", tmp_path)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.engine)
def test_every_flag_of_a_table_is_one_of_the_version(server: Any) -> None:
    """Against the list read from the wheel: but for variables, and lines of a file, which have no flag."""
    names = known(server.engine)
    only_in_files = {
        "--model", "--enable_attention_dp", "--moe_tensor_parallel_size", "--pp_partition",
        "--moe_config.load_balancer.num_slots", "--kv_cache_config.free_gpu_memory_fraction",
        "--kv_cache_config.dtype",
    } if server.engine == "trtllm" else set()  # fmt: skip
    for flag in server.flags:
        for name in flag.names:
            if name.startswith("-") and name not in only_in_files:
                base = name.partition(".")[0]
                assert base in names.names, name
                assert (base in names.switches) == (flag.kind == "switch"), name
        assert flag.source
