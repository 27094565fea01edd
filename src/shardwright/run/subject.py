"""The model that a proof is made on: a checkpoint, its unsharded run, and its own noise.

The unsharded model runs every prompt by itself, once, however many layouts are held against it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from shardwright.model.hf import read_config
from shardwright.model.spec import ModelSpec
from shardwright.run.checkpoint import reference_model
from shardwright.run.share import Prompt

NUM_TOKENS = 5
"""Generated for each prompt: one by the prefill, four by decode steps."""

BATCH = 8
"""Prompts whose logits tell a model's noise."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The unsharded model on one prompt, greedy: by generated token, the logits [vocab] and the token;
    by layer, the experts that each token of prompt and answer chose, [tokens, K]."""

    logits: list[Tensor]
    tokens: list[int]
    routed: dict[int, Tensor]


NOISE_MULTIPLE = 5.0
"""Tolerance of logits in fp32, in units of the model's own split noise."""

ROUNDING_MULTIPLE = 2.0
"""Tolerance of logits in bf16, in units of how far rounding to bf16 takes the unsharded model."""


def same_experts(one_TK: Tensor, other_TK: Tensor) -> Tensor:
    """Of each token, whether both chose the same experts, in any order: [T] bool."""
    return (one_TK.sort(-1).values == other_TK.sort(-1).values).all(-1)


class Subject:
    """A checkpoint folder opened for proofs."""

    def __init__(self, name: str, folder: Path, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        self.name, self.folder, self.dtype, self.seed = name, folder, dtype, seed
        # As it is executed: a published checkpoint is stored in 16 bits, and run in fp32 all the same.
        executed = {"weight_dtype": "fp32" if dtype == torch.float32 else "bf16"}
        self.model: ModelSpec = read_config(folder, name=name).model_copy(update=executed)
        self._expected: list[Expected] = []

    @cached_property
    def network(self) -> nn.Module:
        """The unsharded model."""
        return reference_model(self.folder, self.dtype)

    def prompts(self, number: int) -> list[Prompt]:
        """The first `number` prompts, of 5 to 8 tokens."""
        return [self._prompt(index) for index in range(number)]

    def expected(self, sequence: int) -> Expected:
        """What the unsharded model does with prompt `sequence`."""
        while len(self._expected) <= sequence:
            self._expected.append(self._run(self._prompt(len(self._expected))))
        return self._expected[sequence]

    @cached_property
    def tolerance(self) -> float:
        """How far logits may be from the unsharded model's.

        In fp32, a multiple of its split noise. In bf16 that noise is 0 on a CPU, where a batch and its
        sequences one by one round alike; there, a multiple of how far bf16 takes it from itself in fp32.
        """
        if self.dtype == torch.float32:
            return NOISE_MULTIPLE * self.noise
        return ROUNDING_MULTIPLE * self._rounding()

    @cached_property
    def noise(self) -> float:
        """Largest difference of logits between one batch and its sequences one by one, or token by token."""
        alike = [(prompt * 4)[:16] for prompt in self.prompts(BATCH)]
        worst = 0.0
        with torch.no_grad():
            together = self.network(torch.tensor(alike)).logits
            for index, prompt in enumerate(alike):
                cache = DynamicCache()
                alone = self.network(torch.tensor([prompt])).logits[0]
                singly = [
                    self.network(torch.tensor([[t]]), past_key_values=cache).logits[0, 0] for t in prompt
                ]
                for split in (alone, torch.stack(singly)):
                    worst = max(worst, float((together[index] - split).abs().max()))
        return worst

    def _rounding(self) -> float:
        """Largest difference of the first logits from fp32, of prompts that choose the same experts."""
        full = Subject(self.name, self.folder, seed=self.seed)
        worst = 0.0
        for own, other in ((self.expected(i), full.expected(i)) for i in range(BATCH)):
            prompts = ((own.routed[layer], other.routed[layer]) for layer in own.routed)
            if all(same_experts(one, two)[: 1 - NUM_TOKENS].all() for one, two in prompts):
                worst = max(worst, float((own.logits[0] - other.logits[0]).abs().max()))
        return worst

    def _prompt(self, index: int) -> Prompt:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        return torch.randint(3, self.model.vocab, (5 + index.bit_count() % 4,), generator=generator).tolist()

    def _run(self, prompt: Prompt) -> Expected:
        seen: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output[2]))
            for module in self.network.modules()
            if type(module).__name__.lower().endswith("topkrouter")
        ]
        sparse = [layer for layer, shape in enumerate(self.model.layer_shapes) if shape.mlp == "moe"]
        found = Expected(logits=[], tokens=[], routed={})
        chosen: dict[int, list[Tensor]] = {layer: [] for layer in sparse}
        cache, fed = DynamicCache(), torch.tensor([prompt])
        for _ in range(NUM_TOKENS):
            seen.clear()
            with torch.no_grad():
                row = self.network(fed, past_key_values=cache, use_cache=True).logits[0, -1].float()
            found.logits.append(row)
            found.tokens.append(int(row.argmax()))
            for layer, ids in zip(sparse, seen, strict=True):
                chosen[layer].append(ids)
            fed = torch.tensor([[found.tokens[-1]]])
        for hook in hooks:
            hook.remove()
        found.routed.update({layer: torch.cat(parts) for layer, parts in chosen.items()})
        return found
