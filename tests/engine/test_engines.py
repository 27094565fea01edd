"""Facts of each engine: rank order, stages, memory limits and launch arguments."""

from dataclasses import replace

import pytest

from shardwright.engine.catalog import ENGINES
from shardwright.engine.sglang import SGLANG_0_5_23
from shardwright.engine.start import Place, Start
from shardwright.engine.vllm import VLLM_0_33
from shardwright.layout.grid import build_grid, groups
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.units import GIB
from tests.engine.engine_strategies import REFERENCE, device
from tests.samples import DENSE, LATENT


def expert_groups(engine: str, axis: str, layout: Layout) -> list[list[int]]:
    found = ENGINES[engine]
    return groups(build_grid(layout, found.rank_order, found.expert_order), axis).tolist()


def test_vllm_builds_its_ep_groups_across_pipeline_stages():
    layout = Layout(tp=2, dp=2, pp=2, ep=4)
    assert expert_groups("vllm", "ep", layout) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert expert_groups("sglang", "ep", layout) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_sglang_and_tensorrt_llm_join_different_neighbours():
    """mapping.py's docstring: moe_tp 2, moe_ep 4 over 8 GPUs; SGLang has moe_tp adjacent."""
    layout = Layout(tp=8, ep=4, etp=2)
    assert expert_groups("trtllm", "ep", layout) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert expert_groups("trtllm", "etp", layout) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert expert_groups("sglang", "etp", layout) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_deepspeed_strides_ep_over_tp():
    """groups.py's docstring: model degree 2, expert degree 4."""
    assert expert_groups("gshard", "ep", Layout(tp=2, dp=4, ep=4, edp=2)) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def said(engine, layout, place=None, model=REFERENCE):
    assert engine.launcher is not None
    start = Start(layout=layout, model=model, max_model_len=8192, place=place or Place())
    return list(engine.launcher.speak(start).line)


@pytest.mark.parametrize(
    ("engine", "stages"),
    [("vllm", (4, 5, 5, 4)), ("sglang", (4, 4, 5, 5)), ("trtllm", (5, 5, 4, 4))],
)
def test_engines_leave_remaining_layers_to_different_stages(engine, stages):
    assert ENGINES[engine].stages(18, 4) == stages


@pytest.mark.parametrize(
    ("name", "memory_bytes", "limits"),
    [
        ("B200", 180 * GIB, (16384, 1024)),
        ("H100-SXM-80GB", 80 * GIB - 1, (8192, 1024)),
        ("A100-SXM-80GB", 80 * GIB - 1, (2048, 256)),
        ("GB10", 119 * GIB, (2048, 256)),
        ("A100-SXM-64GB", 64 * 10**9, (2048, 256)),
        ("L40S", 48 * 10**9, (2048, 256)),
    ],
)
def test_vllm_limits_follow_memory_and_name(name, memory_bytes, limits):
    row = VLLM_0_33.memory.limits_on(device(name, memory_bytes))
    assert (row.max_batched_tokens, row.max_sequences) == limits


def test_sglang_reserve_gives_its_documented_fraction_on_an_h100():
    """memory_hook.py for 81,559 MiB and one GPU: (81559 - 512 - 8192 x 1.5 - 128 - 512 - 464) / 81559."""
    memory = SGLANG_0_5_23.memory
    total = 81559 * 2**20
    h100 = device("H100", total)
    assert memory.reserve is not None
    reserved = float(memory.reserve(Layout(), DENSE, h100, memory.limits_on(h100)))
    assert reserved == (512 + 8192 * 1.5 + 128 + 512 + 464) * 2**20
    assert round((total - reserved) / total, 3) == pytest.approx(0.830, abs=5e-4)


def test_sglang_reserves_more_for_attention_dp_and_mla():
    """memory_hook.py, an H200: 4.5 MiB a sequence of the largest graph and DP rank; 1,536 for MLA."""
    memory, h200 = SGLANG_0_5_23.memory, device("H200", 143771 * 2**20)
    assert memory.reserve is not None
    reserved = {
        layout: float(memory.reserve(parse_layout(layout), LATENT, h200, memory.limits_on(h200))) / 2**20
        for layout in ("tp8/ep8", "dp8/ep8", "dp2/ep2")
    }
    alone = 512 + 8192 * 1.5 + 1536
    assert reserved == {
        "tp8/ep8": alone + 1024 + 2 * 512,
        "dp8/ep8": alone + 1024 + 2 * 512 + 4.5 * 512 * 8,
        "dp2/ep2": alone + 256 + 2 * 256 + 3 * 256 * 2,
    }
    small = replace(memory.limits_on(h200), max_batched_tokens=1024)
    assert float(memory.reserve(Layout(), DENSE, h200, small)) == 10 * 2**30, "the floor of a large GPU"


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_device_has_limits(engine):
    memory = ENGINES[engine].memory
    assert memory.limits_on(device("any", 10**9)).max_batched_tokens >= 1024


@pytest.mark.parametrize(
    ("layout", "argv"),
    [
        (Layout(), []),
        (Layout(tp=4, etp=4), ["--tensor-parallel-size", "4"]),
        (
            Layout(tp=2, dp=2, pp=2, ep=4, copies=3),
            [
                "--tensor-parallel-size",
                "2",
                "--pipeline-parallel-size",
                "2",
                "--data-parallel-size",
                "2",
                "--enable-expert-parallel",
            ],
        ),
        (
            Layout(dp=8, ep=8, redundant=8),
            [
                "--data-parallel-size",
                "8",
                "--enable-expert-parallel",
                "--enable-eplb",
                "--eplb-config",
                '{"num_redundant_experts": 8}',
            ],
        ),
    ],
)
def test_vllm_command(layout, argv):
    assert said(VLLM_0_33, layout) == [
        "vllm",
        "serve",
        "reference/moe-30b",
        *argv,
        "--max-model-len",
        "8192",
    ]


def test_vllm_command_on_two_nodes():
    layout = Layout(tp=8, dp=2, ep=16)
    first, second = (
        said(VLLM_0_33, layout, Place(nodes=2, node_rank=rank, head="10.0.0.1")) for rank in (0, 1)
    )
    assert first[-6:] == ["--nnodes", "2", "--node-rank", "0", "--master-addr", "10.0.0.1"]
    assert second[-7:] == ["--nnodes", "2", "--node-rank", "1", "--master-addr", "10.0.0.1", "--headless"]


def test_sglang_command_counts_all_gpus_of_a_stage():
    layout = Layout(tp=2, dp=4, pp=2, ep=4, etp=2)
    argv = said(SGLANG_0_5_23, layout, Place(nodes=2, node_rank=1, head="10.0.0.1"))
    assert " ".join(argv) == (
        "python -m sglang.launch_server --model-path reference/moe-30b --tp-size 8 --attn-dp-size 4 "
        "--ep-size 4 --pp-size 2 --context-length 8192 --dist-init-addr 10.0.0.1:29500 "
        "--nnodes 2 --node-rank 1"
    )


def test_stated_stage_layers_reach_the_engine() -> None:
    """No flag takes them: vLLM and SGLang read them from the environment."""
    model, layout = find_model("Qwen3-30B-A3B"), parse_layout("tp2.pp2:30:18/ep2")
    for name, variable in (("vllm", "VLLM_PP_LAYER_PARTITION"), ("sglang", "SGLANG_PP_LAYER_PARTITION")):
        engine, even = ENGINES[name], layout.model_copy(update={"stage_layers": ()})
        assert said(engine, layout, model=model)[:2] == ["env", f"{variable}=30,18"]
        assert said(engine, even, model=model)[0] != "env"
