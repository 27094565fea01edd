"""The decode step of the layout under audit: its program, its seconds, and the same under another load."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shardwright.audit.subject import Subject
from shardwright.cost.price import wires_of
from shardwright.cost.stages import stages
from shardwright.cost.step import StepCost, step_cost
from shardwright.cost.wires import Wires
from shardwright.layout.grid import Role
from shardwright.search.choices import Choice, Rule
from shardwright.search.engine import engine_of
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load, decode_load
from shardwright.steps.operation import COMMUNICATION, Operation
from shardwright.steps.program import rank_program


@dataclass(frozen=True)
class Step:
    """The decode step of the layout under audit, as its program and its seconds."""

    subject: Subject

    @cached_property
    def wires(self) -> Wires:
        """The links under its groups."""
        priced = self.subject.priced_on
        return wires_of(engine_of(priced), priced.cluster, self.subject.the_layout, priced.profile)

    @property
    def forms(self) -> Forms:
        return Forms(exchange=engine_of(self.subject.priced_on).exchange)

    @cached_property
    def load(self) -> Load:
        """One micro-batch."""
        subject = self.subject
        priced = subject.priced_on
        return decode_load(
            priced.model, subject.the_layout, priced.workload, subject.pool.schedule.micro_batches
        )

    @property
    def tpot_s(self) -> float:
        return self.subject.pool.figures.tpot_s.value

    @property
    def cycle_s(self) -> float:
        """From token to token while all ranks decode."""
        return self.subject.pool.figures.step_s.value

    @property
    def devices_cycle_s(self) -> float:
        """The devices' part of it, as their operators take alone, without overlap."""
        return number(self.subject.price.decode.cycle_s)

    @property
    def pace(self) -> float:
        """What the devices take in a running engine, as a share of that."""
        return self.subject.price.host.decode

    @property
    def pass_s(self) -> float:
        """One micro-batch through all stages."""
        return number(self.subject.price.decode.pass_s)

    @property
    def communication_s(self) -> float:
        """Of one pass, exposed."""
        families = self.subject.price.decode.families
        return sum(number(families[name]) for name in families if name in COMMUNICATION)

    def operations(self) -> Iterator[Operation]:
        """What the attention ranks do for one micro-batch, stage after stage."""
        subject, layout = self.subject, self.subject.the_layout
        role: Role = "attention+experts" if layout.home == "folded" else "attention"
        for stage in stages(subject.deployment.model, subject.pool.stage_layers):
            yield from rank_program(subject.deployment.model, layout, stage, self.load, role, self.forms)

    def cost(self, load: Load) -> StepCost:
        """The step under another load."""
        subject = self.subject
        return step_cost(
            subject.deployment.model,
            subject.the_layout,
            subject.pool.stage_layers,
            load,
            subject.pool.schedule.micro_batches,
            self.wires,
            self.forms,
        )

    def choice(self, rule: Rule) -> Choice | None:
        """One choice of its schedule beside the other one; None where it does not arise."""
        return rule(self.subject.priced_on, self.subject.the_layout, self.subject.timing)

    def of_cycle(self, seconds: float) -> float:
        """Seconds saved of a pass, as seconds saved between two tokens of a sequence."""
        return seconds / self.pass_s * self.devices_cycle_s * self.pace


def number(value: object) -> float:
    """A scalar that may come as an array without dimensions."""
    return float(np.asarray(value))
