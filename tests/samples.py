"""Models and clusters that several tests use."""

from shardwright.cluster.catalog import build_cluster
from shardwright.cluster.cluster import Cluster
from shardwright.cost.law import Band
from shardwright.model.spec import GQA, MLA, Experts, ModelSpec

REFERENCE = ModelSpec(
    name="reference",
    family="generic",
    num_layers=16,
    hidden=4096,
    vocab=32000,
    attention=GQA(num_heads=32, num_kv_heads=8, head_dim=128),
    experts=Experts(num_experts=64, top_k=2, width=2304),
)
"""The model of the reference document, its open fields as examples/reference.yaml has them."""

DENSE = ModelSpec(
    name="dense",
    family="llama",
    num_layers=6,
    hidden=512,
    vocab=1000,
    attention=GQA(num_heads=8, num_kv_heads=4, head_dim=64),
    dense_width=1536,
)

LATENT = ModelSpec(
    name="latent",
    family="deepseek_v3",
    num_layers=5,
    hidden=512,
    vocab=1000,
    attention=MLA(
        num_heads=8, q_lora_rank=96, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32
    ),
    dense_width=1024,
    dense_layers=(0,),
    experts=Experts(num_experts=16, top_k=4, width=128, shared_width=128),
)

SMALL_MOE = ModelSpec(
    name="small",
    family="qwen3_moe",
    num_layers=4,
    hidden=256,
    vocab=1000,
    attention=GQA(num_heads=8, num_kv_heads=2, head_dim=32, qk_norm="head"),
    experts=Experts(num_experts=8, top_k=2, width=96),
)


WINDOWED = ModelSpec(
    name="windowed",
    family="gpt_oss",
    num_layers=6,
    hidden=256,
    vocab=1000,
    attention=GQA(num_heads=8, num_kv_heads=2, head_dim=32, qkv_bias=True, output_bias=True, sinks=True),
    experts=Experts(num_experts=8, top_k=2, width=96, router_bias=True, bias=True, weight_dtype="mxfp4"),
    window=128,
    windowed_layers=(0, 2, 4),
)


def cluster(gpu: str = "H100-SXM-80GB", nodes: int = 2, gpus_per_node: int = 8) -> Cluster:
    """A cluster of the catalog."""
    return build_cluster(gpu=gpu, nodes=nodes, gpus_per_node=gpus_per_node)[0]


EXACT = Band(upto=None, rows=0, median=0, p90=0, low=1, high=1)
"""Of a law that a test knows to be right."""
