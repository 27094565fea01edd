"""Whatever a document states, the auditor answers in whole sentences or refuses the input."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.audit.audit import audit
from shardwright.errors import InputError
from tests.audit.documents import example, with_claims

counts = st.integers(1, 10_000_000)
figures = st.one_of(st.floats(1e-6, 1e15), st.sampled_from([1e-6, 1.0, 1e15]))
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 5e-324, 1.0]))
gpus = st.lists(st.integers(0, 20), max_size=5)
maps = st.fixed_dictionaries({"attention": st.lists(gpus, max_size=3), "experts": gpus})
strategies = st.sampled_from(["TP2-EP4-PP2-DP2", "tp2.pp2", "EP9999999", "TP8 x 3", "tp2/ep2.x3"])

statements = st.fixed_dictionaries(
    {},
    optional={
        "gpus": counts,
        "gpu_utilisation": shares,
        "spare_gpus": st.integers(0, 100),
        "replicas": counts,
        "micro_batches": counts,
        "modules": counts,
        "experts_per_gpu": figures,
        "layers_per_stage": figures,
        "sequences_per_replica": figures,
        "model_gb": figures,
        "parameters_billion": figures,
        "memory_gb": figures,
        "memory_utilisation": shares,
        "memory_headroom": shares,
        "tpot_ms": figures,
        "ttft_ms": figures,
        "latency_gain": figures,
        "latency_reduction": shares,
        "throughput_tokens_per_s": figures,
        "throughput_gain": figures,
        "communication_fraction": shares,
        "communication_gain": figures,
        "gpu_map": maps,
        "strategies": st.lists(
            st.fixed_dictionaries({"layout": strategies, "gpus": counts}), max_size=2, unique_by=str
        ),
    },
)


@given(said=statements)
@settings(max_examples=60)
def test_every_finding_is_a_sentence(said: dict[str, Any]) -> None:
    document = example("reference")
    bare = document.model_copy(update={"claims": None})
    try:
        found = audit(with_claims(bare, **said), layout=None if "gpus" in said else "tp2.dp2.pp2/ep4")
    except InputError:
        return
    for row in found.findings:
        assert row.sentence.endswith(".")
        assert row.claim
        assert row.truth
    assert type(found).model_validate_json(found.model_dump_json()) == found
