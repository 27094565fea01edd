"""What stands beside the profiles: cost/constants.yaml as records."""

from functools import cache
from pathlib import Path

import yaml

from shardwright.cost.exchange import ExchangeForm
from shardwright.record import Record
from shardwright.steps.operation import ExchangeKernel


class SmallConstants(Record):
    t0: float
    em: float


class Intervals(Record):
    """Multiplicative half-widths of a 90 % interval, by what widens it."""

    unmeasured: float
    composition: float
    same_family: float
    same_vendor: float
    other_vendor: float
    several_nodes: float
    pipeline: float


class Constants(Record):
    """constants.yaml says what they mean. Times in microseconds."""

    small: SmallConstants
    exchange: dict[ExchangeKernel, ExchangeForm]
    intervals: Intervals


@cache
def constants() -> Constants:
    """The shipped constants, read once."""
    text = (Path(__file__).parent / "constants.yaml").read_text(encoding="utf-8")
    return Constants.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
