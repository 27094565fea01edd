"""A KV cache that is full from the start: random keys and values behind every sequence, room for one step.

It takes the place of the cache of transformers in attention modules. Every step writes its tokens into the
same room, so that a step can be repeated; nothing grows and nothing is copied.
"""

import torch
from torch import Tensor

KeysAndValues = tuple[Tensor, Tensor]
"""Each [sequences, heads, tokens, width]."""


class FilledCache:
    """`past` tokens behind each sequence; the tensors of a layer are made at its first step."""

    def __init__(self, past: int, generator: torch.Generator) -> None:
        self._past, self._generator = past, generator
        self._layers: dict[int, KeysAndValues] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int) -> KeysAndValues:
        """Keys and values of the step's tokens go in; those of all tokens come out."""
        if layer not in self._layers:
            self._layers[layer] = self._filled(keys), self._filled(values)
        for held, new in zip(self._layers[layer], (keys, values), strict=True):
            held[:, :, self._past :] = new
        return self._layers[layer]

    @property
    def num_bytes(self) -> int:
        """Bytes held."""
        return sum(tensor.nbytes for layer in self._layers.values() for tensor in layer)

    def _filled(self, new: Tensor) -> Tensor:
        sequences, heads, tokens, width = new.shape
        return new.new_empty(sequences, heads, self._past + tokens, width).normal_(generator=self._generator)
