"""What is under audit: the deployment with the one layout that its strategy means, priced."""

from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from shardwright.audit.floor import Floor, weight_floor
from shardwright.audit.reading import CANONICAL, breaches_of_any_size, choose, engines_of_any_size, read
from shardwright.cost.price import Price
from shardwright.engine.catalog import find_engine
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.readings import Reading
from shardwright.layout.stated import Stated
from shardwright.model.weights import bytes_by_part
from shardwright.plan.claims import Claims, GpuMap
from shardwright.plan.deployment import ANY_ENGINE, Deployment
from shardwright.plan.plan import Plan, Pool
from shardwright.search.pool import build_pool
from shardwright.search.search import NoLayoutError, search
from shardwright.search.timing import Timing, plain_timing, price_layout
from shardwright.units import GB


@dataclass(frozen=True, kw_only=True)
class Subject:
    """stated: the degrees of the strategy. layout: None where it decides on none that can be priced.

    priced_on: the deployment with the engine that the figures assume, which is ours where the one named
    cannot run the layout.
    """

    deployment: Deployment
    claims: Claims
    stated: Stated
    readings: tuple[Reading, ...]
    declared_gpus: int
    layout: Layout | None
    choice: str
    priced_on: Deployment

    @property
    def the_layout(self) -> Layout:
        """The layout, where checks have made sure that there is one."""
        assert self.layout is not None
        return self.layout

    @cached_property
    def timing(self) -> Timing:
        """The layout as every engine runs it: what more it could do is recommended, not assumed."""
        return plain_timing(self.priced_on, self.the_layout)

    @property
    def price(self) -> Price:
        """What the layout costs."""
        return self.timing.price

    @cached_property
    def pool(self) -> Pool:
        """The layout with its figures and intervals."""
        return build_pool(self.priced_on, self.the_layout, self.timing)

    @cached_property
    def floor(self) -> Floor:
        """The floor of reading weights under its decode step."""
        return weight_floor(self.priced_on, self.the_layout)

    @cached_property
    def map_layout(self) -> Layout | None:
        """One copy of what the document's map of GPUs amounts to; None without a map or an even one."""
        given = self.claims.gpu_map
        return laid_out(given, self.stated) if given else None

    @cached_property
    def map_price(self) -> Price:
        """What the map's layout costs on our runtime, which runs every layout."""
        assert self.map_layout is not None
        return price_layout(self.deployment.model_copy(update={"engine": ANY_ENGINE}), self.map_layout)

    @cached_property
    def model_bytes(self) -> float:
        """Stored bytes of all weights."""
        return sum(bytes_by_part(self.deployment.model).values())

    @cached_property
    def limit_gb(self) -> float:
        """Memory a GPU may use by the document: its target, else the device's."""
        return self.deployment.targets.memory_gb or self.deployment.cluster.device.memory_bytes / GB

    @cached_property
    def best_on_same(self) -> Plan | str:
        """The best layout on exactly the GPUs of the one under audit, or why there is none."""
        return _best(self.deployment, self.the_layout.num_gpus)

    @cached_property
    def best_on_all(self) -> Plan | str:
        """The best layout on up to all usable GPUs, or why there is none."""
        return _best(self.deployment, None)


def examine(deployment: Deployment, text: str, gpus: int | None) -> Subject:
    """The subject of an audit of `text` on `gpus` GPUs, else on those that the document declares.

    Claims are the document's own: they are held against `text` where that is the document's strategy or one
    of its readings. Raises InputError for what is no strategy.
    """
    stated, found = read(deployment, text)
    claims = _claims_about(text, found, deployment)
    own = found[0].gpus if found[0].rule == CANONICAL else deployment.usable_gpus
    declared = gpus or claims.gpus or own
    reading, choice = choose(found, declared, deployment.usable_gpus)
    layout = reading.layout if reading else None
    if layout is not None and (refused := _unpriceable(layout, deployment)):
        layout, choice = None, f"{choice}; {refused}"
    return Subject(
        deployment=deployment,
        claims=claims,
        stated=stated,
        readings=found,
        declared_gpus=declared,
        layout=layout,
        choice=choice,
        priced_on=_priced_on(deployment, layout),
    )


def laid_out(given: GpuMap, stated: Stated) -> Layout | None:
    """One copy of the layout that a map amounts to, or None where its stages are not alike.

    The ranks of a stage are TP x DP with TP as stated; GPUs of experts alone serve all stages.
    """
    sizes = {len(stage) for stage in given.attention}
    tp = stated.tp or 1
    if len(sizes) != 1 or (ranks := sizes.pop()) % tp:
        return None
    fields: dict[str, object] = {"tp": tp, "dp": ranks // tp, "pp": len(given.attention)}
    own = set(given.experts) - {gpu for stage in given.attention for gpu in stage}
    if own:
        ep = stated.ep if stated.ep and len(own) % stated.ep == 0 else len(own)
        home = "shared" if len(given.attention) > 1 else "per_stage"
        fields |= {"ep": ep, "edp": len(own) // ep, "home": home}
    elif stated.ep:
        fields |= {"ep": stated.ep, "etp": max(1, ranks // stated.ep)}
    try:
        return Layout.model_validate(fields)
    except ValidationError:
        return None


def _claims_about(text: str, found: tuple[Reading, ...], deployment: Deployment) -> Claims:
    claims, own = deployment.claims or Claims(), deployment.layout
    if own is None or own == text:
        return claims
    _, meant = read(deployment, own)
    same = {reading.canonical for reading in meant} & {reading.canonical for reading in found}
    return claims if same else Claims()


def _unpriceable(layout: Layout, deployment: Deployment) -> str:
    """Why no engine, ours included, could ever run it; '' where one can."""
    if engines_of_any_size(layout, deployment):
        return ""
    broken = breaches_of_any_size(SHARDWRIGHT_0_1, layout, deployment)[0]
    return f"but no engine can run it: {broken.sentence} ({broken.excess:.0f} {broken.unit}); {broken.cure}"


def _priced_on(deployment: Deployment, layout: Layout | None) -> Deployment:
    if layout is None or deployment.engine == ANY_ENGINE:
        return deployment
    able = not breaches_of_any_size(find_engine(deployment.engine), layout, deployment)
    return deployment if able else deployment.model_copy(update={"engine": ANY_ENGINE})


def _best(deployment: Deployment, exact_gpus: int | None) -> Plan | str:
    try:
        return search(deployment, exact_gpus=exact_gpus)
    except (NoLayoutError, InputError) as error:
        return f"No better layout was found: {error}"
