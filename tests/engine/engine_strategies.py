"""The reference model, a dense one, and random layouts, for the tests of engines."""

from hypothesis import strategies as st
from pydantic import ValidationError

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import Device, Link
from shardwright.layout.layout import Layout
from shardwright.model.spec import GQA, MLA, Experts, ModelSpec

REFERENCE = ModelSpec(
    name="reference/moe-30b",
    num_layers=16,
    hidden=4096,
    vocab=32000,
    attention=GQA(num_heads=32, num_kv_heads=8, head_dim=128),
    experts=Experts(num_experts=64, top_k=2, width=2304),
)

DENSE = ModelSpec(
    name="dense",
    num_layers=18,
    hidden=1024,
    vocab=32000,
    attention=GQA(num_heads=12, num_kv_heads=4, head_dim=64),
    dense_width=3072,
)

LATENT = ModelSpec(
    name="latent",
    num_layers=7,
    hidden=1024,
    vocab=32000,
    attention=MLA(num_heads=16, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32),
    dense_width=2048,
    dense_layers=(0,),
    experts=Experts(num_experts=60, top_k=4, width=96, shared_width=192),
)

MODELS = (REFERENCE, DENSE, LATENT)


def device(name: str, memory_bytes: int) -> Device:
    return Device(
        name=name,
        vendor="NVIDIA",
        memory_bytes=memory_bytes,
        memory_bandwidth_bytes_per_s=2e12,
        peak_flops={"bf16": 3e14},
        num_sms=108,
        scale_up_link="link",
        source="test",
        date="2026-01-01",
    )


LINK = Link(
    name="link",
    kind="scale-up",
    bandwidth_bytes_per_s=3e11,
    latency_s=1e-6,
    source="test",
    date="2026-01-01",
)

CLUSTER = Cluster(device=device("A100", 64 * 10**9), scale_up=LINK, scale_out=LINK, nodes=2, gpus_per_node=8)

DEGREES = st.sampled_from([1, 1, 2, 3, 4, 6, 8, 16])


@st.composite
def layouts(draw: st.DrawFn, home: str | None = None) -> Layout:
    """Layouts that Layout itself allows: half of the folded ones cover their ranks."""
    fields = {axis: draw(DEGREES) for axis in ("tp", "dp", "pp", "ep", "etp", "copies")}
    fields["redundant"] = draw(st.sampled_from([0, 0, 0, 4, 8]))
    chosen = home or draw(st.sampled_from(["folded", "per_stage", "shared"]))
    ranks, slots = fields["tp"] * fields["dp"], fields["ep"] * fields["etp"]
    fields["edp"] = ranks // slots if chosen == "folded" and ranks % slots == 0 else draw(DEGREES)
    try:
        return Layout(**fields, home=chosen)
    except ValidationError:
        return Layout(**{**fields, "ep": 1, "etp": 1, "edp": 1}, home=chosen)
