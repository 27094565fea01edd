"""The engines that a plan is launched on, by the names that `launch --engine` takes."""

from shardwright.engine.afd import AFD
from shardwright.engine.catalog import VERSIONS, find_engine
from shardwright.engine.engine import Engine
from shardwright.errors import InputError
from shardwright.plan.deployment import ANY_ENGINE

NAMED = {"torchrun": "shardwright"}
"""Names that say how an engine is started."""


def names() -> tuple[str, ...]:
    """What --engine takes; a version may follow an @."""
    own = {engine: name for name, engine in NAMED.items()}
    return (*(own.get(engine.id, engine.id) for engine in VERSIONS if engine.launcher), AFD.id)


def priced_as(engine: Engine) -> str:
    """What a deployment names so that the plan is for this engine: any, for one that is not priced itself."""
    return ANY_ENGINE if engine.id == AFD.id else engine.id


def engine_named(name: str) -> Engine:
    """The engine of a name such as vllm, vllm@0.32, afd or torchrun. Raises InputError for any other."""
    if name == AFD.id:
        return AFD
    try:
        engine = find_engine(NAMED.get(name, name))
    except InputError:
        engine = None
    if engine is None or engine.launcher is None:
        raise InputError("--engine", name, f"an engine that can be started: {', '.join(names())}; kubernetes")
    return engine
