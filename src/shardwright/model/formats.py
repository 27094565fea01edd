"""What each quantisation method stores: its part of quantization_config -> Scheme.

Sources of what stands beside the values. fp8, fbgemm_fp8: FP8Linear and FbgemmFp8Linear of transformers
5.23.0, integrations/finegrained_fp8.py and fbgemm_fp8.py. awq: WQLinear_GEMM of AutoAWQ,
awq/modules/linear/gemm.py. gptq: QuantLinear of AutoGPTQ, auto_gptq/nn_modules/qlinear. mxfp4: OCP
Microscaling Formats 1.0 and the checkpoints of gpt-oss. compressed-tensors: its compressors and
quantization/lifecycle/initialize.py. modelopt: its unified checkpoints for FP8 and NVFP4.
"""

from typing import Literal

from shardwright.model.dtype import Dtype
from shardwright.model.fields import LARGEST_COUNT, Fields
from shardwright.model.scheme import WORD_BITS, Scheme

FP32_BYTES, SIXTEEN_BITS_BYTES, INT32_BYTES, INT64_BYTES = 4, 2, 4, 8

INT_DTYPES: dict[int, Dtype] = {4: "int4", 8: "int8"}


def fp8(section: Fields) -> Scheme:
    """One fp32 scale a tensor, or one a block of weight_block_size (DeepSeek-V3: 128 x 128)."""
    static = section.values.get("activation_scheme") == "static"
    block = (0, 0)
    if section.values.get("weight_block_size") is not None:
        block = _pair(section, "weight_block_size")
    return Scheme(
        dtype="fp8", bits=8, block=block, scale_bytes=FP32_BYTES, tensor_bytes=FP32_BYTES if static else 0
    )


def fbgemm_fp8(section: Fields) -> Scheme:
    """One fp32 scale an output channel, and the upper bound of the activations' scale."""
    return Scheme(dtype="fp8", bits=8, block=(1, 0), scale_bytes=FP32_BYTES, tensor_bytes=FP32_BYTES)


def awq(section: Fields) -> Scheme:
    """Values in words of int32; of each group of inputs an fp16 scale and a packed zero point."""
    if section.values.get("version", "gemm") not in ("gemm", "GEMM"):
        section.refuse("version", "gemm")
    bits = _bits(section)
    return Scheme(
        dtype=INT_DTYPES[bits],
        bits=bits,
        word_bits=WORD_BITS,
        block=(1, _group_size(section)),
        scale_bytes=SIXTEEN_BITS_BYTES,
        zero_bits=bits if section.values.get("zero_point", True) is True else 0,
    )


def gptq(section: Fields) -> Scheme:
    """As awq, with the group of each input beside (g_idx). Checkpoints hold zero points and g_idx always,
    those that are symmetric (sym) or in order (desc_act false) too."""
    if section.values.get("checkpoint_format", "gptq") not in ("gptq", "gptq_v2"):
        section.refuse("checkpoint_format", "gptq or gptq_v2")
    bits = _bits(section)
    return Scheme(
        dtype=INT_DTYPES[bits],
        bits=bits,
        word_bits=WORD_BITS,
        block=(1, _group_size(section)),
        scale_bytes=SIXTEEN_BITS_BYTES,
        zero_bits=bits,
        index_bytes=INT32_BYTES,
    )


def mxfp4(section: Fields) -> Scheme:
    """Values in bytes of two, one scale of 8 bits for 32."""
    return Scheme(dtype="mxfp4", bits=4, block=(1, 32), scale_bytes=1)


def nvfp4(group_size: int, *, tensor_bytes: int) -> Scheme:
    """Values in bytes of two, one fp8 scale a group."""
    return Scheme(dtype="fp4", bits=4, block=(1, group_size), scale_bytes=1, tensor_bytes=tensor_bytes)


def modelopt(section: Fields) -> Scheme:
    """The one format of a checkpoint; NVFP4's group_size stands in the config_groups of newer ones."""
    groups = section.values.get("config_groups")
    if section.values.get("group_size") is None and isinstance(groups, dict) and groups:
        stated = section.section("config_groups")
        first = stated.section(next(iter(stated.values)))
        if first.values.get("weights") is not None:
            section = section.over({"group_size": first.section("weights").values.get("group_size")})
    return modelopt_format(section)


def modelopt_format(section: Fields) -> Scheme:
    """FP8: an fp32 scale a tensor and one of its activations. NVFP4: these, and a scale each group of 16."""
    algorithms: dict[str, Literal["FP8", "NVFP4"]] = {"FP8": "FP8", "NVFP4": "NVFP4"}
    if section.one_of("quant_algo", algorithms) == "FP8":
        return Scheme(dtype="fp8", bits=8, scale_bytes=FP32_BYTES, tensor_bytes=FP32_BYTES)
    group_size = 16 if section.values.get("group_size") is None else section.count("group_size")
    return nvfp4(group_size, tensor_bytes=2 * FP32_BYTES)


def compressed_tensors(group: Fields, section: Fields) -> Scheme:
    """The weights of one config group; its scales have the model's 16 bits but for those of fp4."""
    stated = group.section("weights")
    kinds: dict[str, Literal["int", "float"]] = {"int": "int", "float": "float"}
    kind, bits = stated.one_of("type", kinds), _bits(stated, "num_bits")
    strategy = stated.one_of("strategy", {name: name for name in STRATEGIES})
    inputs = group.section("input_activations") if group.values.get("input_activations") else None
    if kind == "float" and bits == 4:
        return _compressed_fp4(stated, strategy, inputs)
    packed = kind == "int" and _format(group, section) == "pack-quantized"
    asymmetric = stated.values.get("symmetric") is False
    static = inputs is not None and inputs.values.get("dynamic") is False
    # The shape of what is packed is kept as two numbers of int64.
    once = (2 * INT64_BYTES if packed else 0) + (SIXTEEN_BITS_BYTES if static else 0)
    return Scheme(
        dtype="fp8" if kind == "float" else INT_DTYPES[bits],
        bits=bits if packed else 8,
        word_bits=WORD_BITS if packed else 8,
        block=_block(stated, strategy),
        scale_bytes=SIXTEEN_BITS_BYTES + (1 if asymmetric and not packed else 0),
        zero_bits=bits if asymmetric and packed else 0,
        index_bytes=INT32_BYTES if stated.values.get("actorder") in ("group", True) else 0,
        tensor_bytes=once,
    )


STRATEGIES = ("tensor", "channel", "group", "block", "tensor_group")
"""compressed_tensors.quantization.QuantizationStrategy, as far as it is for weights."""


def _compressed_fp4(stated: Fields, strategy: str, inputs: Fields | None) -> Scheme:
    """nvfp4-pack-quantized (tensor_group), or mxfp4-pack-quantized (group of 32, scales of 8 bits)."""
    if strategy == "tensor_group":
        tensor_bytes = FP32_BYTES * (1 if inputs is None else 2)
        return nvfp4(stated.count("group_size"), tensor_bytes=tensor_bytes)
    if strategy != "group" or stated.values.get("group_size") != 32:
        stated.refuse("strategy", "tensor_group, or group with group_size 32, for values of 4 bits")
    return mxfp4(stated)


def _format(group: Fields, section: Fields) -> object:
    """The group's own format, or that of all."""
    return group.values.get("format") or section.values.get("format")


def _block(stated: Fields, strategy: str) -> tuple[int, int]:
    match strategy:
        case "tensor":
            return (0, 0)
        case "channel":
            return (1, 0)
        case "block":
            return _pair(stated, "block_structure")
        case _:
            return (1, _group_size(stated))


def _bits(section: Fields, key: str = "bits") -> int:
    bits = section.count(key)
    if bits not in INT_DTYPES:
        section.refuse(key, "4 or 8")
    return bits


def _group_size(section: Fields) -> int:
    """Inputs that share a scale; 0, for all of them, where the checkpoint says -1."""
    return 0 if section.values.get("group_size") == -1 else section.count("group_size")


def _pair(section: Fields, key: str) -> tuple[int, int]:
    """Two whole numbers from 1, rows and columns."""
    value = section.values.get(key)
    if not isinstance(value, list) or len(value) != 2:
        section.refuse(key, "a list of two whole numbers, rows and columns")
    for size in value:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST_COUNT:
            section.refuse(key, "a list of two whole numbers, rows and columns")
    return value[0], value[1]
