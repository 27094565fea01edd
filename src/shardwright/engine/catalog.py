"""The engines that Shardwright knows, each in the version that it was read in."""

import re

from shardwright.engine.engine import Engine
from shardwright.engine.gshard import GSHARD_CLASSIC
from shardwright.engine.megatron import MEGATRON_0_16
from shardwright.engine.sglang import SGLANG_0_5_23
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.engine.tensorrt_llm import TENSORRT_LLM_1_2
from shardwright.engine.vllm import VLLM_0_33
from shardwright.engine.vllm_0_32 import VLLM_0_32
from shardwright.errors import InputError

ENGINES: dict[str, Engine] = {
    engine.id: engine
    for engine in (
        VLLM_0_33,
        SGLANG_0_5_23,
        TENSORRT_LLM_1_2,
        MEGATRON_0_16,
        GSHARD_CLASSIC,
        SHARDWRIGHT_0_1,
    )
}
"""Each in its newest version: those that a strategy is read by."""

VERSIONS = (*ENGINES.values(), VLLM_0_32)
"""Older versions too: those that a deployment can name."""


def find_engine(name: str, *, beside: tuple[str, ...] = ()) -> Engine:
    """The engine of a name, or of a name and a version: vllm, vllm@0.32, vllm-0.32.0.

    Raises InputError when there is none; `beside` is what else is allowed in its place.
    """
    base, _, stated = re.sub("[@-]", "@", name, count=1).partition("@")
    of_name = [engine for engine in VERSIONS if engine.name == base]
    if of_name and name == base:
        return of_name[0]
    for engine in of_name:
        if stated and f"{engine.version}.".startswith(f"{stated}."):
            return engine
    known = [f"{base}@{engine.version}" for engine in of_name] or [*ENGINES, *beside]
    raise InputError("engine", name, f"one of {', '.join(known)}")
