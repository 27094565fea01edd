"""What the benchmark that made a row did beside what the row states: lengths, requests, settings."""

from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field

from shardwright.calibrate.measured.row import Row
from shardwright.cluster.names import plain_name
from shardwright.engine.tuning import Tuning
from shardwright.model.dtype import Dtype
from shardwright.record import Count, CountOrZero, Fraction, Record


class Harness(Record):
    """A source's client. of: part of the row's source.

    num_requests: by 'input,output' tokens; requests: whatever they are; requests_per_slot: for each request
    in flight. medians_of: part of the sources that publish medians of their times, where others have means.
    """

    name: str
    of: str
    length_ratio: Fraction = 1.0
    num_requests: dict[str, Count] = Field(default_factory=dict)
    requests: Count | None = None
    requests_per_slot: Count | None = None
    medians_of: str | None = None
    source: str

    def by_median(self, row: Row) -> bool:
        """Whether the row's times are medians: by its cells, where they are blank by its source."""
        if row.ttft_ms_median is not None or row.ttft_ms_mean is not None:
            return row.ttft_ms_median is not None
        return self.medians_of is not None and self.medians_of in row.source

    def lengths(self, nominal: int) -> tuple[int, int]:
        """The least and the most tokens of an even draw, both included."""
        return max(1, int(nominal * self.length_ratio)), nominal

    def requests_of(self, row: Row) -> int | None:
        """Requests of the whole run; None where nothing says."""
        if stated := self.num_requests.get(f"{row.isl},{row.osl}") or self.requests:
            return stated
        each, slots = self.requests_per_slot, row.concurrency_or_batch
        return each * slots if each and slots else None


class Setting(Record):
    """What a harness set of an engine, for the rows that fit; an empty list fits all.

    tokens_beside_prompt: that a step takes beside the nominal prompt and a token of each request in flight.
    poll_steps, gather_steps: of serving/policy.py; the first by requests in flight, from so many on.
    """

    harness: str
    software: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    tp: Count | None = None
    kv_dtype: Dtype | None = None
    tuning: Tuning = Tuning()
    tokens_beside_prompt: CountOrZero | None = None
    poll_steps: dict[int, Count] = Field(default_factory=dict)
    gather_steps: CountOrZero = 0
    source: str

    def fits(self, harness: Harness, row: Row, software: str, family: str) -> bool:
        """Whether it speaks of the row. family: the model's, as ModelSpec has it."""
        lists = (
            (software, self.software),
            (family, self.families),
            (row.precision_weights.lower(), self.precisions),
        )
        return (
            self.harness == harness.name
            and all(not wanted or value in wanted for value, wanted in lists)
            and (not self.gpus or plain_name(row.gpu) in map(plain_name, self.gpus))
            and self.tp in (None, row.tp)
        )

    def tuning_of(self, row: Row) -> Tuning:
        """What it set of the engine for the load of this row."""
        if self.tokens_beside_prompt is None:
            return self.tuning
        most = row.isl + (row.concurrency_or_batch or 0) + self.tokens_beside_prompt
        return self.tuning.model_copy(update={"max_batched_tokens": most})

    def polls(self, concurrency: int | None) -> int:
        """Steps of decode between two looks for new requests; 1 is every step."""
        reached = [steps for least, steps in self.poll_steps.items() if least <= (concurrency or 1)]
        return reached[-1] if reached else 1


def harness_of(row: Row) -> Harness:
    """The first that the row's source names; the last fits all."""
    return next(harness for harness in _tables().harnesses if harness.of in row.source)


def setting_of(harness: Harness, row: Row, software: str, family: str) -> Setting:
    """The first that fits the row; without one, the engine's defaults hold."""
    defaults = Setting(harness=harness.name, source="the engine's defaults")
    return next((each for each in _tables().settings if each.fits(harness, row, software, family)), defaults)


class _Tables(Record):
    harnesses: tuple[Harness, ...]
    settings: tuple[Setting, ...]


@cache
def _tables() -> _Tables:
    text = files("shardwright.calibrate.measured").joinpath("harness.yaml").read_text(encoding="utf-8")
    return _Tables.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
