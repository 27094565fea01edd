"""How a row's GPUs were shared out: its degrees, as its source counts them, in our terms."""

from pydantic import ValidationError

from shardwright.calibrate.measured.refusal import RefusedError
from shardwright.calibrate.measured.row import Row
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec

EP_UNSTATED = "EP size not stated"
"""What the notes say of MoE rows whose table has TP alone (TensorRT-LLM 1.0, docs, perf-overview)."""

HYBRID_EP = "Hybrid TP = "
"""How LLM-Inference-Bench names experts in TP x EP (arXiv 2411.00136, figure 5): its TP is the experts'."""


def layout_of(row: Row, model: ModelSpec, *, software: str, dies: int) -> Layout:
    """The row's layout; what its GPUs leave over are copies. dies: devices in one of its GPUs.

    Attention DP: SGLang and TensorRT-LLM count all GPUs of a stage as TP and switch it on beside (SGLang
    0.5.23, runtime_context.py: tp_size = attn_dp x attn_tp; TensorRT-LLM 1.2, llm_args.py: DP over all or
    none). vLLM's DP shares the experts of a stage (0.33.0, parallel_state.py); elsewhere, and of dense
    models, DP is copies. Without a stated TP, all GPUs of a stage (LLM-Inference-Bench: TP = GPUs).
    """
    gpus, pp = row.gpus * dies, row.pp or 1
    tp, dp = _attention(row, model, gpus=gpus, pp=pp, dies=dies, software=software)
    ep = row.ep or 1
    if model.experts is None:
        ep = 1
    elif EP_UNSTATED in row.notes:
        ep = tp * dp
    copies, left = divmod(gpus, tp * dp * pp)
    etp, odd = divmod(tp * dp, ep)
    if left or not copies or odd:
        experts = f", EP {ep}" if ep > 1 else ""
        raise RefusedError(
            "degrees", f"TP {tp} x DP {dp} x PP {pp}{experts} cannot be laid over {gpus} GPUs evenly."
        )
    try:
        return Layout(tp=tp, dp=dp, pp=pp, copies=copies, ep=ep, etp=1 if model.experts is None else etp)
    except ValidationError as error:
        raise RefusedError("degrees", f"{error.errors(include_url=False)[0]['msg']}.") from error


def _attention(
    row: Row, model: ModelSpec, *, gpus: int, pp: int, dies: int, software: str
) -> tuple[int, int]:
    """(TP, DP) of attention in a stage."""
    dp = row.dp or 1
    tp = row.tp * dies if row.tp else max(1, gpus // pp)
    if HYBRID_EP in row.notes and row.ep:
        tp *= row.ep
    if row.dp_attention:
        if model.experts is None and max(tp, dp) > 1:
            raise RefusedError("attention-dp", "Attention DP is modelled with experts only.")
        if dp > 1 and tp * dp * pp <= gpus:
            return tp, dp
        dp = dp if dp > 1 and tp % dp == 0 else tp
        return tp // dp, dp
    shares = software == "vllm" and model.experts is not None and row.dp_attention is None
    return tp, dp if shares else 1
