"""Which layers stand in which pipeline stage."""

from collections.abc import Callable
from itertools import accumulate

from shardwright.errors import InputError
from shardwright.layout.layout import Layout


def even_stages(num_layers: int, pp: int) -> tuple[int, ...]:
    """Layers of each stage; what is left over goes to the stages just before the last, never to the last.

    The last stage has the head, and with few left over the first, which has the embedding, is spared too.
    Source: vLLM, vllm/distributed/utils.py, get_pp_indices.

    Raises InputError when there are more stages than layers.

    >>> even_stages(18, 4)
    (4, 5, 5, 4)
    """
    each, left = _share(num_layers, pp)
    return tuple(each + (pp - 1 - left <= stage < pp - 1) for stage in range(pp))


def first_stages(num_layers: int, pp: int) -> tuple[int, ...]:
    """Layers of each stage; what is left over goes to the first stages, one each.

    Source: TensorRT-LLM, tensorrt_llm/mapping.py, Mapping.pp_layers (torch.tensor_split).

    Raises InputError when there are more stages than layers.

    >>> first_stages(18, 4)
    (5, 5, 4, 4)
    """
    each, left = _share(num_layers, pp)
    return tuple(each + (stage < left) for stage in range(pp))


def stage_counts(
    layout: Layout, num_layers: int, default: Callable[[int, int], tuple[int, ...]] = even_stages
) -> tuple[int, ...]:
    """Layers of each stage: as the layout states them, else by the default of an engine.

    Raises InputError when the stated layers are not those of the model, or when pp exceeds num_layers.
    """
    stated = layout.stage_layers
    if not stated:
        return default(num_layers, layout.pp)
    if sum(stated) != num_layers:
        shown = ":".join(map(str, stated))
        raise InputError("layout.stage_layers", shown, f"counts that add to the model's {num_layers} layers")
    return stated


def layer_ranges(counts: tuple[int, ...]) -> tuple[range, ...]:
    """The layers of each stage.

    >>> layer_ranges((2, 1))
    (range(0, 2), range(2, 3))
    """
    ends = tuple(accumulate(counts))
    return tuple(range(end - count, end) for end, count in zip(ends, counts, strict=True))


def _share(num_layers: int, pp: int) -> tuple[int, int]:
    if pp > num_layers:
        raise InputError("layout.pp", pp, f"at most {num_layers} stages, one layer each")
    return divmod(num_layers, pp)
