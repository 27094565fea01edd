"""A layout written as flags and read back is the layout: for every legal one of every server."""

import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.engine.catalog import ENGINES
from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.reading import read_arguments
from shardwright.engine.commands.script import find_invocation
from shardwright.engine.engine import ExchangeMode, breaches
from shardwright.engine.start import Start
from shardwright.engine.tuning import Tuning
from shardwright.layout.layout import Layout
from shardwright.model.catalog import find_model
from shardwright.model.spec import ModelSpec

MOE, DENSE, LATENT = (find_model(name) for name in ("Qwen3-30B-A3B", "Llama-3.3-70B-Instruct", "DeepSeek-V3"))
POWERS = st.sampled_from([1, 2, 4, 8, 16])


def realised(text: str, model: ModelSpec) -> Layout | None:
    invocation = find_invocation(text, SERVERS)
    return invocation.server.realise(read_arguments(invocation).settings, model)[1].layout


@settings(max_examples=300, deadline=None)
@given(
    model=st.sampled_from([MOE, LATENT]),
    engine=st.sampled_from(["vllm", "sglang"]),
    tp=POWERS, dp=POWERS, pp=st.sampled_from([1, 2, 4]), ep=POWERS, redundant=st.sampled_from([0, 16]),
    uneven=st.booleans(),
)  # fmt: skip
def test_command_of_a_layout_reads_back(
    model: ModelSpec, engine: str, tp: int, dp: int, pp: int, ep: int, redundant: int, uneven: bool
) -> None:
    ranks = tp * dp
    ep = ranks if engine == "vllm" and ep > 1 else min(ep, ranks)
    redundant = redundant if ep > 1 else 0
    stages = (model.num_layers - 2 * (pp - 1), *[2] * (pp - 1)) if uneven and pp > 1 else ()
    layout = Layout(tp=tp, dp=dp, pp=pp, ep=ep, etp=ranks // ep, redundant=redundant, stage_layers=stages)
    if breaches(ENGINES[engine], layout, model, None):
        return
    launcher = ENGINES[engine].launcher
    assert launcher is not None
    line = launcher.speak(Start(layout=layout, model=model, max_model_len=4096)).line
    assert realised(shlex.join(line), model) == layout


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_settings_that_are_written_are_read(engine: str) -> None:
    """By the reader of audits, which has a table of its own: names that differ would be found here."""
    tuning = Tuning(utilisation=0.85, max_batched_tokens=4096, max_sequences=512)
    model = MOE.model_copy(update={"kv_dtype": "fp8"})
    layout = Layout(dp=8, pp=2, ep=8, redundant=8, stage_layers=(30, 18))
    launcher = ENGINES[engine].launcher
    assert launcher is not None
    said = launcher.speak(Start(layout=layout, model=model, max_model_len=4096, tuning=tuning))
    files = "".join(f"cat <<EOF > {name}\n{text}EOF\n" for name, text in said.files.items())
    invocation = find_invocation(files + shlex.join(said.line), SERVERS)
    found = read_arguments(invocation)
    assert invocation.server.realise(found.settings, model)[1].layout == layout
    of_copy = 8 if engine == "sglang" else 1
    wanted = {
        "utilisation": 0.85,
        "max_batched_tokens": 4096,
        "max_sequences": 512 * of_copy,
        "kv_dtype": "fp8",
        "max_model_len": 4096,
    }
    assert {name: found.settings[name] for name in wanted} == wanted
    assert [row for row in found.ignored if row.why == "unknown"] == []


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("exchange", ["gather", "deepep", "deepep_low_latency"])
def test_the_exchange_that_is_written_is_read(engine: str, exchange: ExchangeMode) -> None:
    launcher = ENGINES[engine].launcher
    assert launcher is not None
    start = Start(layout=Layout(dp=8, ep=8), model=MOE, max_model_len=64, tuning=Tuning(exchange=exchange))
    found = read_arguments(find_invocation(shlex.join(launcher.speak(start).line), SERVERS)).settings[
        "exchange"
    ]
    assert found == ("deepep" if engine == "sglang" and exchange != "gather" else exchange)


@settings(max_examples=100, deadline=None)
@given(tp=POWERS, pp=st.sampled_from([1, 2]), ep=POWERS, attention_dp=st.booleans())
def test_configuration_file_of_a_layout_reads_back(tp: int, pp: int, ep: int, attention_dp: bool) -> None:
    ep = min(ep, tp)
    lines = {"tensor_parallel_size": tp, "moe_expert_parallel_size": ep, "enable_attention_dp": attention_dp}
    text = f"cat <<EOF > c.yaml\n{json.dumps(lines)}\nEOF\ntrtllm-serve M --pp_size {pp} --config c.yaml"
    attention = {"dp": tp} if attention_dp else {"tp": tp}
    assert realised(text, MOE) == Layout(**attention, pp=pp, ep=ep, etp=tp // ep)


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        # Dense: DP is copies (vLLM, SGLang).
        ("vllm serve M -tp 2 -dp 4", Layout(tp=2, copies=4)),
        ("sglang serve M --tp 2 --dp 4", Layout(tp=2, copies=4)),
        ("sglang serve M --tp 8 --ep 8", Layout(tp=8)),
        ("trtllm-serve M --tp_size 4 --ep_size 4 --pp_size 2", Layout(tp=4, pp=2)),
    ],
)
def test_dense_models(text: str, layout: Layout) -> None:
    assert realised(text, DENSE) == layout


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("vllm serve M -tp 2 -dp 4 -ep", Layout(tp=2, dp=4, ep=8)),
        ("vllm serve M -tp 2 -dp 4", Layout(tp=2, dp=4, etp=8)),
        ("vllm serve M -tp 2 -dp 2 -pp 2 -ep", Layout(tp=2, dp=2, pp=2, ep=4)),
        ("sglang serve M --tp 8", Layout(tp=8, etp=8)),
        ("sglang serve M --tp 8 --dp 2", Layout(tp=8, etp=8, copies=2)),
        ("sglang serve M --tp 8 --dp 2 --enable-dp-attention", Layout(tp=4, dp=2, etp=8)),
        ("sglang serve M --tp 4 --attn-dp-size 2 --ep 4 --pp-size 2", Layout(tp=2, dp=2, pp=2, ep=4)),
        ("sglang serve M --tp 8 --ep 2 --moe-a2a-backend deepep", Layout(tp=8, ep=8)),
        ("sglang serve M --tp 8 --ep 2", Layout(tp=8, ep=2, etp=4)),
        ("trtllm-serve M --tp_size 8 --ep_size 4", Layout(tp=8, ep=4, etp=2)),
        ("sglang serve M --tp 2 --ep 4 --pp-size 2 --dp 2", None),
        ("sglang serve M --tp 8 --attn-dp-size 3", None),
        ("trtllm-serve M --tp_size 2 --ep_size 4", None),
    ],
)
def test_models_with_experts(text: str, layout: Layout | None) -> None:
    assert realised(text, MOE) == layout
