"""What one rank does in one step of one micro-batch, as steps/ has it: operations, not yet tensors."""

from functools import lru_cache

from shardwright.layout.grid import Role
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec
from shardwright.run.seat import Seat
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load
from shardwright.steps.operation import Operation
from shardwright.steps.program import Stage, rank_program


def stage_of(seat: Seat, stage: int) -> Stage:
    """The stage with its layers one by one."""
    layers = seat.layers(stage)
    runs = tuple((seat.seats.model.layer_shapes[layer], 1) for layer in layers)
    return Stage(runs=runs, first=stage == 0, last=stage == seat.layout.pp - 1, first_layer=layers.start)


def load_of(num_sequences: int, num_tokens: int, past: int) -> Load:
    """A step of a micro-batch as the rank program sees it: num_tokens new ones a sequence, past cached.

    Expert rows are what the routing makes them.
    """
    return Load(
        phase="prefill" if num_tokens > 1 else "decode",
        sequences=num_sequences,
        query_tokens=num_tokens,
        context=past + num_tokens,
    )


def forms_of(seat: Seat) -> Forms:
    """The forms that our runtime gives its collectives."""
    return Forms(exchange="all_to_all", near_ranks=seat.seats.near_ranks)


def program_of(seat: Seat, stage: int, load: Load) -> tuple[Operation, ...]:
    """The rank program of one stage: the same for all ranks of its role, and so made once."""
    held = stage_of(seat, stage)
    return _program(seat.seats.model, seat.layout, held, held.first_layer, load, seat.role, forms_of(seat))


@lru_cache(maxsize=64)
def _program(
    model: ModelSpec, layout: Layout, stage: Stage, first_layer: int, load: Load, role: Role, forms: Forms
) -> tuple[Operation, ...]:
    """first_layer: part of the key, since stages that do equal work compare equal."""
    return tuple(rank_program(model, layout, stage, load, role, forms))
