"""The strategy under audit as it stands: the hardware, and each parallel dimension on its GPUs."""

from shardwright.audit.record import Audit
from shardwright.engine.catalog import VERSIONS
from shardwright.model.weights import bytes_by_part, num_parameters
from shardwright.plan.deployment import Deployment
from shardwright.report.dimensions import dimensions
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, in_detail
from shardwright.report.plan_document import load, where
from shardwright.report.words import with_interval
from shardwright.units import format_bytes, format_share


def strategy(audit: Audit) -> Document:
    """The current strategy; without a layout to price, why there is none."""
    pool = audit.pool
    name = f": {audit.layout}" if audit.layout else ""
    dims = dimensions(priced_deployment(audit), pool) if pool else (nothing_priced(),)
    return (
        Heading(f"Current Deployment Strategy{name}"),
        Heading("Hardware Environment", level=3, only="markdown"),
        *in_detail((_hardware(audit),)),
        Heading("Parallelism Configuration", level=3, only="markdown"),
        *dims,
    )


def priced_deployment(audit: Audit) -> Deployment:
    """The deployment on the engine whose rules and memory the figures assume."""
    named = {f"{engine.title} {engine.version}": engine.id for engine in VERSIONS}
    return audit.deployment.model_copy(update={"engine": named[audit.priced_on]})


def nothing_priced() -> Paragraph:
    """In place of what rests on a single layout."""
    return Paragraph("No figures: there is no single layout to price.")


def _hardware(audit: Audit) -> Bullets:
    deployment, pool = audit.deployment, audit.pool
    device = deployment.cluster.device
    items = [
        Item("Total GPUs Available", f"{where(deployment)}, {format_bytes(device.memory_bytes)} each"),
        Item("GPUs Declared", f"{audit.declared_gpus:,}"),
        Item("Model Size", _model_size(deployment)),
        Item("Load", load(deployment)),
    ]
    if pool is not None:
        free = deployment.cluster.num_gpus - pool.num_gpus
        used = pool.figures.memory_bytes
        share = format_share(used.value / device.memory_bytes)
        items += [
            Item("GPUs Used", f"{pool.num_gpus:,}, {max(0, free):,} left"),
            Item("Memory per GPU", f"{with_interval(used, format_bytes)} predicted, {share} of the device"),
            Item("Engine Priced", audit.priced_on),
        ]
    return Bullets(tuple(items))


def _model_size(deployment: Deployment) -> str:
    model, number = deployment.model, num_parameters(deployment.model)
    counted = f"{number / 1e9:,.2f} billion" if number >= 1e9 else f"{number / 1e6:,.1f} million"
    stored = format_bytes(sum(bytes_by_part(model).values()))
    return f"{model.name}: {counted} parameters, {stored} in {model.stored_in}"
