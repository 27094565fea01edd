"""The base of every value that crosses a package border or is written to a file."""

from typing import Annotated, Any, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shardwright.errors import InputError


class Record(BaseModel):
    """An immutable, closed record: unknown fields are refused, numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
"""A whole number of things, at least one (booleans and numeric strings are refused)."""

CountOrZero = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

Size = int | float | NDArray[Any]
"""A number, or an array of numbers: one entry a layout."""

R = TypeVar("R", bound=Record)


def validated(kind: type[R], data: object, *, field: str = "", where: str = "") -> R:
    """`data` as a record of `kind`; raises InputError for the first thing that is wrong, by its path."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise input_error(error, field=field, where=where) from None


def input_error(error: ValidationError, *, field: str = "", where: str = "") -> InputError:
    """The first complaint of pydantic as an InputError: `field` prefixes its path."""
    first = error.errors(include_url=False)[0]
    path = ".".join(part for part in (field, *map(str, first["loc"])) if part)
    message = first["msg"].removeprefix("Value error, ")
    allowed = "a known field" if first["type"] == "extra_forbidden" else _lower(message)
    value = "nothing" if first["type"] == "missing" else first["input"]
    return InputError(path or "input", value, allowed, where=where)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
