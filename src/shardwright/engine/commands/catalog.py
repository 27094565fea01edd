"""The servers whose commands are read."""

from shardwright.engine.commands.sglang import SGLANG_SERVE
from shardwright.engine.commands.tensorrt_llm import TRTLLM_SERVE
from shardwright.engine.commands.vllm import VLLM_SERVE

SERVERS = (VLLM_SERVE, SGLANG_SERVE, TRTLLM_SERVE)
