"""The operator constants and where they come from: cost/constants.yaml as records."""

from functools import cache
from importlib.resources import files

import yaml

from shardwright.cost.exchange import ExchangeForm
from shardwright.record import Record
from shardwright.steps.operation import ExchangeKernel


class SmallConstants(Record):
    t0: float
    em: float


class Intervals(Record):
    """Multiplicative half-widths of a 90 % interval, and what widens them."""

    tpot: float
    ttft: float
    other_device: float
    other_vendor: float
    several_nodes: float
    pipeline: float


class Constants(Record):
    """All forms and symbols are explained at the head of constants.yaml. Times in microseconds."""

    fitted_on: str
    source: str
    date: str
    power: float
    small: SmallConstants
    exchange: dict[ExchangeKernel, ExchangeForm]
    intervals: Intervals


@cache
def constants() -> Constants:
    """The shipped constants, read once."""
    text = files("shardwright.cost").joinpath("constants.yaml").read_text(encoding="utf-8")
    return Constants.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
