"""Every flag that is written is one of the stated version, and none that it deprecates."""

from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from shardwright.dag.schedule import Schedule
from shardwright.engine import afd, sglang_command, tensorrt_llm_command, vllm_command
from shardwright.engine.engine import ExchangeMode
from shardwright.engine.start import Place, Say, Start
from shardwright.engine.tuning import Tuning
from shardwright.launch.engines import engine_named
from shardwright.launch.make import launch_of
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from tests.launch.plans import cluster_of, model_named, plan_of
from tests.launch.reader import texts

KNOWN = Path(__file__).parent / "known"
DEEPSEEK, QWEN = model_named("DeepSeek-V3"), model_named("Qwen3-30B-A3B")
FULL = Tuning(utilisation=0.85, max_batched_tokens=4096, max_sequences=512)
EXCHANGES: dict[str, tuple[ExchangeMode, ...]] = {
    "vllm": ("gather", "deepep", "deepep_normal", "deepep_low_latency"),
    "sglang": ("gather", "deepep", "deepep_normal", "deepep_low_latency"),
    "trtllm": ("gather",),
}
SERVERS = ("vllm", "vllm@0.32", "sglang", "trtllm")


@cache
def rows() -> dict[str, dict[str, str]]:
    return yaml.safe_load(
        files("shardwright.engine.commands").joinpath("flags.yaml").read_text(encoding="utf-8")
    )


def names(engine: str) -> set[str]:
    if engine == "vllm@0.32":
        return set((KNOWN / "vllm-0.32.0.txt").read_text().split())
    row = rows()[engine]
    return {*row["switches"].split(), *row["valued"].split()}


def every_command(engine: str) -> list[list[str]]:
    """Each layout of the dialect with everything set that can be, on one node, two nodes and by Ray."""
    found = []
    launcher = engine_named(engine).launcher
    assert launcher is not None
    quantised = QWEN.model_copy(update={"weight_dtype": "fp8", "kv_dtype": "fp8"})
    full = QWEN.model_copy(update={"weight_dtype": "fp32", "kv_dtype": "fp32"})
    layouts = ("tp8/ep8", "dp8/ep8", "tp4.pp2:30:18/ep4", "dp8.pp2/ep8", "tp2.pp2/etp2")
    for text in layouts:
        layout: Layout = parse_layout(text)
        for redundant in (0, 8) if layout.ep > 1 else (0,):
            own = layout.model_copy(update={"redundant": redundant})
            for exchange in EXCHANGES[engine.partition("@")[0]]:
                tuning = FULL.model_copy(update={"exchange": exchange})
                for nodes, rank in ((1, 0), (2, 0), (2, 1)):
                    place = Place(nodes=nodes, node_rank=rank, head="h", host="127.0.0.1", port=8000)
                    for model in (QWEN, quantised, full):
                        start = Start(
                            layout=own, model=model, max_model_len=4096, tuning=tuning,
                            overlap=engine != "trtllm" and exchange != "gather", place=place,
                        )  # fmt: skip
                        found.append(list(launcher.speak(start).argv))
                if launcher.ray:
                    ray = place.model_copy(update={"executor": "ray", "node_rank": 0})
                    found.append(list(launcher.speak(start.model_copy(update={"place": ray})).argv))
    return found


@pytest.mark.parametrize("engine", SERVERS)
def test_every_flag_is_of_its_version(engine: str) -> None:
    known, old = names(engine), set(rows()[engine.partition("@")[0]]["deprecated"].split())
    written = {word for argv in every_command(engine) for word in argv if word.startswith("--")}
    assert len(written) >= 10 and len(known) > 35
    assert written - known == set()
    assert written & old == set()


def test_the_plugin_is_told_by_flags_that_vllm_has() -> None:
    """Those of its README, for vLLM 0.26.0: all are there in 0.32.0 too, whose list is complete."""
    schedule = Schedule(order="overlapped", micro_batches=2)
    launch = launch_of(plan_of("DeepSeek-V3", "dp4+ep4", schedule=schedule), engine_named("afd"))
    written = {word for process in launch.processes for word in process.argv if word.startswith("--")}
    assert "--additional-config" in written and written <= names("vllm@0.32")


@pytest.mark.parametrize(
    "rows",
    [vllm_command.ROWS, sglang_command.ROWS, tensorrt_llm_command.ROWS, tensorrt_llm_command.LINES, afd.ROWS],
)
def test_every_row_says_where_it_was_read(rows: tuple[Say, ...]) -> None:
    assert all(row.source for row in rows)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_deprecated_flags_are_known_by_name(engine: str) -> None:
    row = rows()[engine]
    assert row["deprecated"] and set(row["deprecated"].split()) <= names(engine)
    assert row["deprecated_source"]


def test_every_key_of_the_configuration_file_is_one_of_its_version() -> None:
    lines = (KNOWN / "trtllm-1.2-keys.txt").read_text().splitlines()
    known = {line for line in lines if not line.startswith("#")}
    launcher = engine_named("trtllm").launcher
    assert launcher is not None
    fp8 = QWEN.model_copy(update={"kv_dtype": "fp8", "weight_dtype": "fp32"})
    layout = Layout(dp=8, pp=2, ep=8, redundant=8, stage_layers=(30, 18))
    said = launcher.speak(Start(layout=layout, model=fp8, max_model_len=4096, tuning=FULL))
    config = yaml.safe_load(said.files["trtllm.yaml"])
    assert set(keys(config)) <= known and len(list(keys(config))) == 8
    assert config == {
        "enable_attention_dp": True,
        "pp_partition": [30, 18],
        "dtype": "float32",
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85},
        "moe_config": {"backend": "WIDEEP", "load_balancer": {"num_slots": 136, "layer_updates_per_iter": 1}},
    }


def keys(config: dict, before: str = ""):
    for key, value in config.items():
        if isinstance(value, dict):
            yield from keys(value, f"{before}{key}.")
        else:
            yield before + key


@pytest.mark.parametrize(
    ("engine", "flag", "value"),
    [("vllm", "--max-num-seqs", "3000"), ("sglang", "--max-running-requests", "24000")],
)
def test_the_planned_sequences_fit(engine: str, flag: str, value: str) -> None:
    """Said only where the engine's default is below them. SGLang counts those of all 8 attention ranks."""
    many = launch_of(plan_of("Qwen3-30B-A3B", "dp8/ep8", sequences=3000), engine_named(engine))
    few = launch_of(plan_of("Qwen3-30B-A3B", "dp8/ep8", sequences=30), engine_named(engine))
    (words,) = (process.argv for process in many.processes)
    assert words[words.index(flag) + 1] == value
    assert flag not in few.processes[0].argv


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vllm", ["--all2all-backend", "deepep_low_latency", "--enable-dbo"]),
        ("sglang", ["--moe-a2a-backend", "deepep", "--enable-two-batch-overlap"]),
    ],
)
def test_overlap_is_the_engines_own_switch(engine: str, words: list[str]) -> None:
    """The words that the engine's record has, which an audit of a command adds too."""
    schedule = Schedule(order="overlapped", micro_batches=2)
    launch = launch_of(plan_of("DeepSeek-V3", "dp8/ep8", schedule=schedule), engine_named(engine))
    argv = list(launch.processes[0].argv)
    at = argv.index(words[0])
    assert argv[at : at + len(words)] == words
    overlap = engine_named(engine).overlap
    assert overlap is not None and list(overlap.flags) == words


def test_a_checkpoint_that_is_quantised_is_told_of_by_no_flag() -> None:
    cluster = cluster_of("H200", 2)
    for engine in ("vllm", "sglang"):
        for process in launch_of(
            plan_of("DeepSeek-V3", "dp16/ep16", cluster), engine_named(engine)
        ).processes:
            assert "--quantization" not in process.argv
    stated = QWEN.model_copy(update={"weight_dtype": "fp8"})
    argv = launch_of(plan_of(stated, "tp8/ep8"), engine_named("vllm")).processes[0].argv
    assert argv[argv.index("--quantization") + 1] == "fp8"
    notes = launch_of(plan_of(stated, "tp8/ep8"), engine_named("trtllm")).notes
    assert any("fp8: the checkpoint must hold them so" in note for note in notes)


def test_stage_layers_are_where_each_engine_reads_them() -> None:
    plan = plan_of("Qwen3-30B-A3B", "tp4.pp2:30:18/ep4")
    for engine, name in (("vllm", "VLLM_PP_LAYER_PARTITION"), ("sglang", "SGLANG_PP_LAYER_PARTITION")):
        assert launch_of(plan, engine_named(engine)).processes[0].environment[name] == "30,18"
    files = texts(launch_of(plan, engine_named("trtllm")))
    assert yaml.safe_load(files["trtllm.yaml"]) == {"pp_partition": [30, 18]}
