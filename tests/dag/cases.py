"""Layouts of small models under decode, as graphs and as closed forms."""

from dataclasses import dataclass

from hypothesis import strategies as st

from shardwright.cluster.cluster import Cluster
from shardwright.cost.price import wires_of
from shardwright.cost.step import StepCost, step_cost
from shardwright.dag.schedule import Schedule
from shardwright.dag.step import Site, Steady, steady_step, step_timeline
from shardwright.dag.timeline import Timeline, simulate
from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import Engine
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.stages import stage_counts
from shardwright.model.spec import ModelSpec
from shardwright.steps.forms import Forms
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
        forms = Forms(exchange=engine.exchange)
        return step_cost(self.model, self.layout, layers, self.load, self.micro_batches, wires, forms)

    @property
    def site(self) -> tuple[ModelSpec, Engine, Cluster, Layout]:
        return self.model, ENGINES[self.engine], cluster(nodes=8), self.layout

    def play(self, schedule: Schedule, num_steps: int = 1) -> Timeline:
        schedule = schedule.model_copy(update={"micro_batches": self.micro_batches})
        return step_timeline(*self.site, self.load, schedule, num_steps=num_steps)

    def steps(self, schedule: Schedule, num_steps: int) -> Timeline:
        """In the order asked for, whether or not it is the best."""
        site = Site(*self.site)
        return simulate(site.graph(self.load, schedule, num_steps), schedule, site.tier)

    def steady(self, schedule: Schedule) -> Steady:
        schedule = schedule.model_copy(update={"micro_batches": self.micro_batches})
        return steady_step(*self.site, self.load, schedule)


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
