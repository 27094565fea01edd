"""Layouts of small models under decode, as graphs and as closed forms."""

from dataclasses import dataclass

from hypothesis import strategies as st

from shardwright.cost.price import wires_of
from shardwright.cost.step import StepCost, step_cost
from shardwright.dag.schedule import Schedule
from shardwright.dag.step import step_timeline
from shardwright.dag.timeline import Timeline
from shardwright.engine.catalog import ENGINES
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.stages import stage_counts
from shardwright.model.spec import ModelSpec
from shardwright.steps.load import Load, routed_load
from shardwright.workload.routing import RoutingProfile
from tests.samples import LATENT, SMALL_MOE, WINDOWED, cluster

LAYOUTS = {
    "folded": ["tp1/ep1", "tp2.dp2/ep4", "tp4/etp4", "dp4/ep2.etp2", "tp2.dp2/ep2.etp2", "dp16/ep16"],
    "per_stage": ["tp1+ep1", "tp2.dp2+ep4", "tp2+ep2.etp2", "dp4+ep3", "tp4.dp2+ep4.edp2"],
    "shared": ["tp2+ep4.shared", "tp2.dp2+ep4.shared", "tp1+ep2.etp2.shared"],
}


@dataclass(frozen=True)
class Case:
    model: ModelSpec
    engine: str
    layout: Layout
    sequences: int
    micro_batches: int

    @property
    def load(self) -> Load:
        return routed_load(
            "decode",
            model=self.model,
            degrees=self.layout,
            sequences=self.sequences,
            query_tokens=1,
            context=300.0,
            routing=RoutingProfile(),
        )

    @property
    def cost(self) -> StepCost:
        engine, layers = ENGINES[self.engine], stage_counts(self.layout, self.model.num_layers)
        wires = wires_of(engine, cluster(nodes=8), self.layout)
        return step_cost(self.model, engine, self.layout, layers, self.load, self.micro_batches, wires)

    def play(self, schedule: Schedule, num_steps: int = 1) -> Timeline:
        schedule = schedule.model_copy(update={"micro_batches": self.micro_batches})
        site = (self.model, ENGINES[self.engine], cluster(nodes=8), self.layout)
        return step_timeline(*site, self.load, schedule, num_steps=num_steps)


@st.composite
def cases(draw: st.DrawFn, homes: tuple[str, ...] = ("folded", "per_stage", "shared")) -> Case:
    text = draw(st.sampled_from([text for home in homes for text in LAYOUTS[home]]))
    engines = ["shardwright", *(["vllm"] if text in LAYOUTS["folded"] else [])]
    return Case(
        model=draw(st.sampled_from([SMALL_MOE, LATENT, WINDOWED])),
        engine=draw(st.sampled_from(engines)),
        layout=parse_layout(text).model_copy(update={"pp": draw(st.integers(1, 3))}),
        sequences=draw(st.integers(1, 200)),
        micro_batches=draw(st.integers(1, 6)),
    )
