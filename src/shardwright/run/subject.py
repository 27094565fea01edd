"""The model that a proof is made on: a checkpoint, its unsharded run, and its own noise.

The unsharded model runs every prompt by itself, once, however many layouts are held against it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedConfig

from shardwright.model.hf import read_config
from shardwright.model.spec import ModelSpec
from shardwright.run.checkpoint import Checkpoint, load_config, reference_model
from shardwright.run.session import Prompt

NUM_STEPS = 5
"""Prefill and four decode steps."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The unsharded model on one prompt, greedy: by step, the last token's logits [vocab], the token that
    follows, and by (step, layer) the experts that the new tokens chose, [new tokens, K]."""

    logits: list[Tensor]
    tokens: list[int]
    routed: dict[tuple[int, int], Tensor]


class Subject:
    """A checkpoint folder opened for proofs."""

    def __init__(self, name: str, folder: Path, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        self.name, self.folder, self.dtype, self.seed = name, folder, dtype, seed
        # As it is executed: a published checkpoint is stored in 16 bits, and run in fp32 all the same.
        executed = {"weight_dtype": "fp32" if dtype == torch.float32 else "bf16"}
        self.model: ModelSpec = read_config(folder, name=name).model_copy(update=executed)
        self.config: PreTrainedConfig = load_config(folder, dtype)
        self.checkpoint = Checkpoint(folder)
        self._expected: list[Expected] = []

    @cached_property
    def network(self) -> nn.Module:
        """The unsharded model."""
        return reference_model(self.folder, self.dtype)

    @cached_property
    def skeleton(self) -> nn.Module:
        """The unsharded decoder without memory: what the ranks' modules are cut after."""
        with torch.device("meta"):
            decoder: nn.Module = AutoModelForCausalLM.from_config(self.config).model
        return decoder

    def prompts(self, number: int) -> list[Prompt]:
        """The first `number` prompts, of 5 to 8 tokens."""
        return [self._prompt(index) for index in range(number)]

    def expected(self, sequence: int) -> Expected:
        """What the unsharded model does with prompt `sequence`."""
        while len(self._expected) <= sequence:
            self._expected.append(self._run(self._prompt(len(self._expected))))
        return self._expected[sequence]

    @cached_property
    def noise(self) -> float:
        """Largest difference of logits between one batch and its sequences one by one, or token by token."""
        alike = [(prompt * 4)[:16] for prompt in self.prompts(8)]
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
        cache, fed = DynamicCache(), torch.tensor([prompt])
        for step in range(NUM_STEPS):
            seen.clear()
            with torch.no_grad():
                row = self.network(fed, past_key_values=cache, use_cache=True).logits[0, -1].float()
            found.logits.append(row)
            found.tokens.append(int(row.argmax()))
            found.routed.update({(step, layer): ids for layer, ids in zip(sparse, seen, strict=True)})
            fed = torch.tensor([[found.tokens[-1]]])
        for hook in hooks:
            hook.remove()
        return found
