"""The engines that a plan is launched on, by the names that `launch --engine` takes."""

from shardwright.engine.catalog import ENGINES, find_engine
from shardwright.engine.engine import Engine
from shardwright.errors import InputError

OWN = {"torchrun": "shardwright"}
"""Names that say how an engine is started."""


def engine_named(name: str) -> Engine:
    """The engine of a name such as vllm, vllm@0.32 or torchrun. Raises InputError where it starts nothing."""
    names = [*(id for id, engine in ENGINES.items() if engine.launcher and id not in OWN.values()), *OWN]
    try:
        engine = find_engine(OWN.get(name, name))
    except InputError as error:
        raise InputError("--engine", name, error.allowed) from None
    if engine.launcher is None:
        raise InputError("--engine", name, f"an engine that can be started: one of {', '.join(names)}")
    return engine
