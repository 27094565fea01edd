"""The parallel dimensions of a layout, one by one: why, on which GPUs, what they send, what they save."""

from collections.abc import Callable
from dataclasses import dataclass

from shardwright.audit.placing import gpus_of
from shardwright.engine.engine import engine_grid
from shardwright.layout.grid import Grid, groups
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.stages import layer_ranges
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Pool
from shardwright.report.document import Bullets, Document, Heading, Item, columns, table
from shardwright.report.traffic import Traffic, traffic
from shardwright.search.engine import engine_of
from shardwright.units import format_bytes

MOST_GROUPS = 8
"""Groups that are listed; the others follow the same rule."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One axis in words. sends: axes of the operations that it causes. always: shown at degree 1 too."""

    axis: str
    title: str
    purpose: str
    sends: tuple[str, ...]
    memory: Callable[[Pool, Layout], str]
    always: bool = True


def _most(pool: Pool, part: str) -> str:
    return format_bytes(max(getattr(row, part) for row in pool.memory))


def _tp(pool: Pool, layout: Layout) -> str:
    return (
        f"attention and dense weights are cut by {layout.tp}: at most {_most(pool, 'dense_weights')} a GPU; "
        f"embedding {_most(pool, 'embedding')}, head {_most(pool, 'head')}"
    )


def _ep(pool: Pool, layout: Layout) -> str:
    return f"each GPU holds its own experts: at most {_most(pool, 'expert_weights')} of expert weights"


def _pp(pool: Pool, layout: Layout) -> str:
    layers = max(pool.stage_layers)
    kv = max(row.kv_bytes_per_token for row in pool.memory)
    return f"a GPU holds at most {layers} layers and {format_bytes(kv)} of KV a token"


def _dp(pool: Pool, layout: Layout) -> str:
    return (
        f"attention weights stand in every DP rank; each keeps the KV of its {pool.sequences_per_rank} "
        f"sequences, {_most(pool, 'kv')} a GPU"
    )


DIMENSIONS = (
    Dimension(
        axis="tp",
        title="Tensor Parallelism (TP)",
        purpose="splits the heads and the dense matrices of every layer, so that each GPU reads a share",
        sends=("tp",),
        memory=_tp,
    ),
    Dimension(
        axis="ep",
        title="Expert Parallelism (EP)",
        purpose="spreads the experts of a layer; tokens travel to the experts that they chose",
        sends=("ep", "exchange"),
        memory=_ep,
    ),
    Dimension(
        axis="etp",
        title="Tensor parallelism inside experts (ETP)",
        purpose="cuts every expert by its width",
        sends=("etp",),
        memory=lambda pool, layout: f"an expert's weights are cut by {layout.etp}",
        always=False,
    ),
    Dimension(
        axis="edp",
        title="Copies of the expert set (EDP)",
        purpose="gives each set of experts a share of the tokens",
        sends=("edp",),
        memory=lambda pool, layout: f"the expert weights stand {layout.edp} times in one copy of the model",
        always=False,
    ),
    Dimension(
        axis="pp",
        title="Pipeline Parallelism (PP)",
        purpose="gives each stage its own layers; micro-batches pass the stages one after the other",
        sends=("pp",),
        memory=_pp,
    ),
    Dimension(
        axis="dp",
        title="Data Parallelism (DP)",
        purpose="splits the batch over attention ranks that step together and share the experts",
        sends=("dp",),
        memory=_dp,
    ),
    Dimension(
        axis="copies",
        title="Copies (x)",
        purpose="independent replicas, each with a share of the requests",
        sends=(),
        memory=lambda pool, layout: f"all weights stand {layout.copies} times in the cluster",
        always=False,
    ),
)


def dimensions(deployment: Deployment, pool: Pool) -> Document:
    """The degrees with their groups of GPUs; in detail the purpose, bytes and memory of each."""
    layout, engine = parse_layout(pool.layout), engine_of(deployment)
    grid = engine_grid(engine, layout)
    sent = traffic(deployment, layout, pool)
    shown = [row for row in DIMENSIONS if row.always or _degree(row, layout) > 1]
    where = {row.axis: _groups(row, grid, pool) for row in shown}
    short = [(row.axis.upper(), f"{_degree(row, layout)}", where[row.axis]) for row in shown]
    return (
        *table(columns("axis", ("degree", "number"), "groups of GPUs"), short),
        *(
            block
            for number, row in enumerate(shown, 1)
            for block in (
                Heading(f"{number}. {row.title} - Degree {_degree(row, layout)}", level=4, only="markdown"),
                Bullets(
                    (
                        Item("Purpose", row.purpose),
                        Item("Implementation", where[row.axis]),
                        Item("Communication", _sent(row, sent)),
                        Item("Memory Impact", row.memory(pool, layout)),
                    ),
                    only="markdown",
                ),
            )
        ),
    )


def _degree(row: Dimension, layout: Layout) -> int:
    degree: int = getattr(layout, row.axis)
    return degree


def _groups(row: Dimension, grid: Grid, pool: Pool) -> str:
    """The GPUs of every group; of the pipeline, those of every stage with its layers."""
    if row.axis == "pp":
        stages = zip(grid.attention_ranks.swapaxes(0, 1), layer_ranges(pool.stage_layers), strict=True)
        parts = [
            f"stage {index}: {gpus_of(ranks.ravel().tolist())}, layers {layers[0]}-{layers[-1]}"
            for index, (ranks, layers) in enumerate(stages)
        ]
        return _listed(parts)
    if _degree(row, grid.layout) == 1:
        return "no split"
    rows = groups(grid, "copy" if row.axis == "copies" else row.axis)
    return _listed([f"{{{_bare(ranks.tolist())}}}" for ranks in rows])


def _bare(ranks: list[int]) -> str:
    return gpus_of(ranks).split(" ", 1)[1]


def _listed(parts: list[str]) -> str:
    more = f" and {len(parts) - MOST_GROUPS} more" if len(parts) > MOST_GROUPS else ""
    return "; ".join(parts[:MOST_GROUPS]) + more


def _sent(row: Dimension, sent: tuple[Traffic, ...]) -> str:
    """The buffers of what the axis causes in one decode micro-batch through all stages."""
    own = [part for part in sent if part.axis in row.sends]
    if not own:
        return "none"
    parts = [
        f"{part.name} {part.times} x {format_bytes(part.payload_bytes)} over {part.num_ranks} ranks"
        for part in own
    ]
    whole = format_bytes(sum(part.total_bytes for part in own))
    return f"{whole} of buffers in one decode micro-batch through all stages: {', '.join(parts)}"
