"""Number formats that weights, activations and the KV cache are stored in."""

from typing import Literal

Dtype = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4", "mxfp4"]
"""fp4 is NVIDIA's E2M1, whatever its scales."""

BITS: dict[str, float] = {
    "fp32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "int8": 8,
    "int4": 4,
    "fp4": 4,
    "mxfp4": 4 + 8 / 32,
}
"""Bits of one stored value. Scales are counted where the format fixes them: mxfp4 has one of 8 bits for 32
values (OCP Microscaling Formats 1.0, section 5.2). Elsewhere a Scheme counts them (scheme.py)."""
