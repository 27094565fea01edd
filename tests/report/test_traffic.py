"""Communication by axis against bytes counted by hand: h = 256, 4 layers, bf16 activations, 32 sequences."""

from shardwright.dag.schedule import Schedule
from shardwright.layout.notation import parse_layout
from shardwright.report.traffic import traffic
from tests.report.records import DEPLOYMENT, pool

ROW = 256 * 2
"""Bytes of one token."""


def sent(text, num_gpus, deployment=DEPLOYMENT, **changed):
    layout = parse_layout(text)
    own = pool(text, num_gpus).model_copy(update=changed)
    return {part.name: part for part in traffic(deployment, layout, own)}


def test_one_gpu_sends_nothing():
    assert sent("tp1", 1) == {}


def test_tp_sums_once_a_layer_after_attention():
    parts = sent("tp2/etp2", 2)
    assert parts["attention_sum"].times == 4
    assert parts["attention_sum"].payload_bytes == 32 * ROW
    assert parts["experts_sum"].total_bytes == 4 * 32 * ROW
    assert {part.axis for part in parts.values()} == {"tp"}


def test_vllm_gathers_all_tokens_of_the_stage_without_a_top_k_factor():
    parts = sent("dp4/ep4", 4)
    assert parts["dp_gather"].times == 4
    assert parts["dp_gather"].payload_bytes == 4 * 8 * ROW
    assert parts["dp_gather"].num_ranks == 4


def test_a_handover_between_stages_is_counted_once():
    parts = sent("pp2", 2, stage_layers=(2, 2), schedule=Schedule(micro_batches=2))
    assert [part.name for part in parts.values()] == ["send_stage"]
    assert parts["send_stage"].total_bytes == 16 * ROW


def test_dedicated_experts_get_top_k_rows_of_each_token():
    ours = DEPLOYMENT.model_copy(update={"engine": "any"})
    parts = sent("tp1+ep4", 5, ours)
    assert parts["dispatch"].times == 4
    assert parts["dispatch"].payload_bytes == 32 * 2 * ROW
    assert parts["dispatch"].axis == "exchange"
