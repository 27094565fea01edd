"""The engines that Shardwright knows, each in the version that it was read in."""

from shardwright.engine.engine import Engine
from shardwright.engine.gshard import GSHARD_CLASSIC
from shardwright.engine.megatron import MEGATRON_0_16
from shardwright.engine.sglang import SGLANG_0_5_23
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.engine.tensorrt_llm import TENSORRT_LLM_1_2
from shardwright.engine.vllm import VLLM_0_33
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


def find_engine(name: str) -> Engine:
    """The engine with id `name`.

    Raises InputError when there is none.
    """
    if name not in ENGINES:
        raise InputError("engine", name, "one of " + ", ".join(ENGINES))
    return ENGINES[name]
