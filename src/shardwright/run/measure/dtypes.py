"""Formats that this machine is measured in."""

import torch

from shardwright.model.dtype import Dtype

TORCH: dict[Dtype, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}
