"""Seconds of attention: the law that serves one, and what it says."""

from collections.abc import Iterable
from math import log2
from typing import TypeVar

from shardwright.cluster.device import Device
from shardwright.cost.decode import DecodeLaw, decode_seconds
from shardwright.cost.law import choose, formats_of
from shardwright.cost.prefill import PrefillLaw, prefill_seconds
from shardwright.cost.profile import Profile
from shardwright.engine.engine import Kernels
from shardwright.record import Size
from shardwright.steps.operation import Attention

L = TypeVar("L", DecodeLaw, PrefillLaw)

STAND_INS: tuple[Kernels, ...] = ("trtllm", "vllm", "sglang", "torch")
"""Whose kernels stand in for those that were not measured apart: the MLA of vLLM, which calls TensorRT-LLM's
by FlashInfer on Blackwell, and keeps fp8 KV narrow on Hopper (FlashMLA) as TensorRT-LLM does, while SGLang
0.5.14 took four times as long over fp8 as over bf16 (aiconfigurator-core 0.12.0, generation_mla)."""

TRITON = "triton"
"""Where SGLang runs MLA by Triton (L40S, RTX PRO 6000), vLLM does too: kernel_source TRITON_MLA of
mla_generation_module, aiconfigurator-core 0.12.0. TensorRT-LLM's kernel takes 17 to 52 times as long there
over one sequence of 65,535 tokens (generation_mla, RTX PRO 6000, 128 and 2 heads)."""


def attention_seconds(operation: Attention, device: Device, profile: Profile, kernels: Kernels) -> Size:
    """By the law of the phase for the format that the KV is stored in."""
    law = attention_law(operation, profile, kernels)
    if isinstance(law, PrefillLaw):
        return prefill_seconds(operation, device, law)
    return decode_seconds(operation, device, law)


def attention_law(operation: Attention, profile: Profile, kernels: Kernels) -> DecodeLaw | PrefillLaw:
    """The law that prices it."""
    if operation.phase == "prefill":
        return nearest(profile.prefill, operation, kernels)
    return nearest(profile.decode, operation, kernels)


def nearest(laws: Iterable[L], operation: Attention, kernels: Kernels) -> L:
    """An engine has a kernel for some head sizes and another for the rest: the one measured nearest by.

    MLA has kernels of its own.
    """

    def distance(law: L) -> tuple[float, bool, int]:
        steps = min(abs(log2(float(operation.head_dim) / measured)) for measured in law.head_dims)
        return steps, operation.latent and law.kernel != TRITON, STAND_INS.index(law.kernels)

    alike = [law for law in laws if law.latent == operation.latent]
    return choose(sorted(alike, key=distance), kernels, formats_of(operation.kv_dtype, in_blocks=False))
