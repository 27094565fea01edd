"""The base of every value that crosses a package border or is written to a file."""

from typing import Annotated, Any, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shardwright.errors import InputError


class Record(BaseModel):
    """An immutable, closed record: unknown fields are refused, numbers are finite.

    A class builds its validator at its first use: `shardwright plan` uses 20 of the 46 that it imports.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
"""A whole number of things, at least one (booleans and numeric strings are refused)."""

CountOrZero = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]

Stated = Annotated[float, Field(ge=1e-6, le=1e15)]
"""A positive figure that a person states: no arithmetic on it overflows."""
Fraction = Annotated[float, Field(ge=0, le=1)]

Size = int | float | NDArray[Any]
"""A number, or an array of numbers: one entry a layout."""

R = TypeVar("R", bound=Record)


def validated(kind: type[R], data: object, *, field: str = "", where: str = "") -> R:
    """`data` as a record of `kind`; raises InputError for the first thing that is wrong.

    field: what the data is, put before the path of the complaint; where: the place it stands in.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    inner = [str(part) for part in first["loc"] if part != "[key]"]
    path = ".".join([field, *inner] if field else inner)
    value, message = first["input"], first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "missing":
            value, allowed = None, "a value: the field is needed"
        case "extra_forbidden":
            known = (
                f"one of the fields {', '.join(kind.model_fields)}" if len(inner) == 1 else "a known field"
            )
            allowed = known
        case _:
            message = message.removeprefix("Input should be ")
            allowed = message[:1].lower() + message[1:]
    raise InputError(path or "input", value, allowed, where=where)
