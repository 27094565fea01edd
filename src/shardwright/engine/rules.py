"""The rules that engines share. Each is made with the source that states it for one engine."""

from collections.abc import Callable

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import NOT_STATED
from shardwright.engine.engine import Degrees, Rule
from shardwright.model.spec import GQA, ModelSpec
from shardwright.record import Size

VENDOR = "vendor"
"""The rule on who makes the GPUs: the one that no layout can mend."""


def attention_ranks(degrees: Degrees) -> Size:
    """Attention ranks of one stage."""
    return degrees.tp * degrees.dp


def expert_ranks(degrees: Degrees) -> Size:
    """Ranks of one expert grid."""
    return degrees.etp * degrees.ep * degrees.edp


def num_gpus(degrees: Degrees) -> Size:
    """GPUs of all copies."""
    own = {"folded": 0, "per_stage": degrees.pp, "shared": 1}[degrees.home]
    return degrees.copies * (degrees.pp * attention_ranks(degrees) + own * expert_ranks(degrees))


def num_slots(degrees: Degrees, model: ModelSpec) -> Size:
    """Physical expert slots of one layer over one EP group; 0 for a dense model."""
    return model.experts.num_experts + degrees.redundant if model.experts else 0


def mismatch(a: Size, b: Size) -> Size:
    """0 where one of the two divides the other, else the smaller remainder."""
    return np.minimum(np.mod(a, b), np.mod(b, a))


def over(value: Size, limit: Size) -> Size:
    """By how much `value` exceeds `limit`; 0 where it does not."""
    return np.maximum(np.subtract(value, limit), 0)


def fits_cluster() -> Rule:
    """The one rule that is the cluster's, not the engine's."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return over(num_gpus(degrees), cluster.num_gpus) if cluster else 0

    return Rule(
        id="gpus",
        sentence="The layout has no more GPUs than the cluster",
        source="cluster",
        breach=breach,
        unit="GPUs",
        cure="fewer copies, or a smaller degree",
    )


def made_by(*vendors: str, source: str, cure: str) -> Rule:
    """The engine runs on GPUs of these vendors; a device of somebody's own that names none is taken."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return 0 if cluster is None or cluster.device.vendor in (*vendors, NOT_STATED) else cluster.num_gpus

    return Rule(
        id=VENDOR,
        sentence=f"The GPUs are made by {' or '.join(vendors)}",
        source=source,
        breach=breach,
        unit="GPUs of another vendor",
        cure=cure,
    )


def heads(source: str) -> Rule:
    """TP slices query heads whole."""
    return Rule(
        id="heads",
        sentence="TP divides the number of query heads",
        source=source,
        breach=lambda degrees, model, cluster: np.mod(model.attention.num_heads, degrees.tp),
        unit="heads left over",
        cure="a TP that divides the query heads",
    )


def kv_heads(source: str) -> Rule:
    """KV heads are sliced whole, or replicated a whole number of times. MLA has one row for all heads."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        attention = model.attention
        return mismatch(degrees.tp, attention.num_kv_heads) if isinstance(attention, GQA) else 0

    return Rule(
        id="kv-heads",
        sentence="TP divides the number of KV heads, or is a multiple of it",
        source=source,
        breach=breach,
        unit="heads left over",
        cure="a TP that divides the KV heads or is a multiple of them",
    )


def dense_width(source: str, ranks: Callable[[Degrees], Size] = lambda degrees: degrees.tp) -> Rule:
    """Dense MLPs and shared experts are sliced over `ranks`, TP by default."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        shared = model.experts.shared_width if model.experts else 0
        slices = ranks(degrees)
        return np.mod(model.dense_width, slices) + np.mod(shared, slices)

    return Rule(
        id="dense-width",
        sentence="The ranks that slice a dense MLP or a shared expert divide its width",
        source=source,
        breach=breach,
        unit="columns left over",
        cure="a TP that divides the width",
    )


def expert_width(source: str) -> Rule:
    """ETP slices an expert's width evenly."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return np.mod(model.experts.width, degrees.etp) if model.experts else 0

    return Rule(
        id="expert-width",
        sentence="ETP divides the width of an expert",
        source=source,
        breach=breach,
        unit="columns left over",
        cure="an ETP that divides the width of an expert",
    )


def expert_each(source: str) -> Rule:
    """No EP rank is without experts."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return over(degrees.ep, num_slots(degrees, model)) if model.experts else 0

    return Rule(
        id="expert-each",
        sentence="EP is at most the number of expert slots",
        source=source,
        breach=breach,
        unit="ranks without experts",
        cure="a smaller EP, or redundant experts",
    )


def even_experts(source: str) -> Rule:
    """Every EP rank holds as many experts as any other."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return np.mod(num_slots(degrees, model), degrees.ep)

    return Rule(
        id="even-experts",
        sentence="EP divides the number of expert slots",
        source=source,
        breach=breach,
        unit="experts left over",
        cure="an EP that divides the experts, or redundant experts up to a multiple of EP",
    )


def redundant_need_ep(source: str) -> Rule:
    """Copies of experts exist only where experts are spread."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return np.where(np.greater(degrees.ep, 1), 0, degrees.redundant)

    return Rule(
        id="redundant-need-ep",
        sentence="Redundant experts need EP",
        source=source,
        breach=breach,
        unit="redundant experts",
        cure="EP above 1, or no redundant experts",
    )


def layer_each(source: str) -> Rule:
    """No stage is without layers."""
    return Rule(
        id="layer-each",
        sentence="PP is at most the number of layers",
        source=source,
        breach=lambda degrees, model, cluster: over(degrees.pp, model.num_layers),
        unit="stages without layers",
        cure="a smaller PP",
    )


def folded_product(source: str) -> Rule:
    """The folded expert grid covers the attention ranks of its stage exactly."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        if model.experts is None or degrees.home != "folded":
            return 0
        return np.abs(np.subtract(attention_ranks(degrees), expert_ranks(degrees)))

    return Rule(
        id="folded-product",
        sentence="TP x DP = ETP x EP x EDP in every stage",
        source=source,
        breach=breach,
        unit="ranks",
        cure="expert degrees whose product is TP x DP",
    )


def folded_only(source: str) -> Rule:
    """The engine has no GPUs that hold experts alone."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return 0 if degrees.home == "folded" else expert_ranks(degrees)

    return Rule(
        id="folded-only",
        sentence="Experts live on the attention GPUs",
        source=source,
        breach=breach,
        unit="GPUs of experts alone",
        cure="a folded layout",
    )


def no_expert_copies(source: str) -> Rule:
    """The engine cannot hold an expert set twice in one model."""
    return Rule(
        id="no-expert-copies",
        sentence="EDP is 1: one model holds its experts once",
        source=source,
        breach=lambda degrees, model, cluster: np.subtract(degrees.edp, 1),
        unit="expert sets too many",
        cure="EDP 1, and redundant experts or copies of the model instead",
    )


def dense_model(source: str) -> Rule:
    """A dense model has no experts to spread, and its DP is copies of the model."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        if model.experts is not None:
            return 0
        return np.subtract(degrees.dp * expert_ranks(degrees) + degrees.redundant, 1)

    return Rule(
        id="dense",
        sentence="A dense model has DP, EP, ETP and EDP of 1",
        source=source,
        breach=breach,
        unit="ranks too many",
        cure="copies of the model instead of DP",
    )
