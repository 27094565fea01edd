"""From a strategy string to the one layout that a deployment means by it."""

from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, is_canonical, parse_layout
from shardwright.layout.readings import Reading, match, readings
from shardwright.layout.stated import parse_stated
from shardwright.plan.deployment import Deployment


def resolve_layout(deployment: Deployment, text: str) -> tuple[Layout, str]:
    """(layout, how the string was read). A canonical form is one layout; others need a GPU count to decide.

    The count is the claimed one, else the GPUs of the cluster less the reserve. Raises InputError when no
    reading or several match it, naming them all.
    """
    if is_canonical(text):
        layout = parse_layout(text)
        _check_experts(deployment, layout, text)
        return layout, f"{text} is canonical: {layout.num_gpus} GPUs"
    found = readings(parse_stated(text), has_experts=deployment.model.experts is not None)
    declared = declared_gpus(deployment)
    matching = [reading for reading in match(found, declared) if not reading.contradicts]
    if len(matching) == 1:
        reading = matching[0]
        return reading.layout, f"{text} on {declared} GPUs is {reading.canonical}: {reading.sentence}"
    listed = ", ".join(f"{r.canonical} ({r.gpus} GPUs{_but(r)})" for r in matching or found)
    why = "several readings have" if matching else "no reading that keeps every degree has"
    raise InputError("layout", text, f"a canonical form, since {why} {declared} GPUs: {listed}")


def _but(reading: Reading) -> str:
    return f", but {reading.contradicts}" if reading.contradicts else ""


def declared_gpus(deployment: Deployment) -> int:
    """The GPUs that the deployment says its layout uses."""
    if deployment.claims is not None and deployment.claims.gpus is not None:
        return deployment.claims.gpus
    return deployment.usable_gpus


def _check_experts(deployment: Deployment, layout: Layout, text: str) -> None:
    """A layout says where the experts go exactly where the model has some."""
    if deployment.model.experts is None:
        if layout.dp * layout.expert_ranks > 1 or layout.home != "folded":
            raise InputError(
                "layout", text, f"tp, pp and copies only: {deployment.model.name} has no experts"
            )
    elif layout.home == "folded" and layout.expert_ranks != layout.attention_ranks:
        allowed = f"expert degrees too, such as {format_layout(_with_ep(layout))}: the model has experts"
        raise InputError("layout", text, allowed)


def _with_ep(layout: Layout) -> Layout:
    return layout.model_copy(update={"ep": layout.attention_ranks, "etp": 1, "edp": 1})
