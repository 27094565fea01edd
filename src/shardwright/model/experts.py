"""How a config.json states experts, and which layers have them.

Shapes follow the modelling files of transformers 5.23.0, src/transformers/models/MODEL_TYPE.
"""

from dataclasses import dataclass

from shardwright.model.fields import LARGEST_COUNT, Fields
from shardwright.model.spec import Experts


@dataclass(frozen=True, kw_only=True)
class ExpertFields:
    """The fields in which a family states its experts, and what all of its models have.

    number: the names that the count of experts goes by. shared: the field that counts shared experts of
    `width`; shared_width: the one that states their width together; always_shared: how many there are
    where no field says so. bias: in every linear layer, the router's included.
    """

    number: tuple[str, ...]
    width: str
    top_k: str = "num_experts_per_tok"
    shared: str = ""
    shared_width: str = ""
    always_shared: int = 0
    shared_gate: bool = False
    correction_bias: bool = False
    bias: bool = False


def read_experts(fields: Fields, names: ExpertFields) -> Experts:
    """The expert block that `fields` states. Raises InputError."""
    number = next((key for key in names.number if key in fields.values), names.number[0])
    num_experts, width = fields.count_alike(number), fields.count_alike(names.width)
    top_k = fields.count_alike(names.top_k)
    if top_k > num_experts:
        fields.refuse(names.top_k, f"at most {number} {num_experts}")
    num_shared = names.always_shared
    if names.shared and fields.values.get(names.shared) is not None:
        num_shared = fields.count_alike(names.shared, least=0, most=LARGEST_COUNT // width)
    if num_shared * width > LARGEST_COUNT:
        fields.refuse(names.width, f"a whole number up to {LARGEST_COUNT // num_shared}")
    shared_width = fields.count(names.shared_width, least=0) if names.shared_width else num_shared * width
    groups, top_groups = _groups(fields, num_experts, top_k)
    return Experts(
        num_experts=num_experts,
        top_k=top_k,
        width=width,
        shared_width=shared_width,
        shared_gate=names.shared_gate and shared_width > 0,
        correction_bias=names.correction_bias,
        router_bias=names.bias,
        bias=names.bias,
        groups=groups,
        top_groups=top_groups,
    )


def _groups(fields: Fields, num_experts: int, top_k: int) -> tuple[int, int]:
    """Group-limited routing: n_group and topk_group, which mean nothing where topk_method is greedy.

    One group, where a config states none: what transformers takes by default is not what was trained.
    """
    if fields.values.get("n_group") is None or fields.values.get("topk_method") == "greedy":
        return 1, 1
    groups = fields.count("n_group", most=num_experts)
    top_groups = fields.count("topk_group", most=groups)
    if num_experts % groups:
        fields.refuse("n_group", f"a divisor of the {num_experts} experts")
    if top_k > num_experts // groups * top_groups:
        fields.refuse("topk_group", f"groups of {num_experts // groups} experts that hold {top_k} together")
    return groups, top_groups


def dense_nowhere(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """Every layer has experts."""
    return ()


def dense_between(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """Qwen2MoeDecoderLayer, Qwen3's: experts in each decoder_sparse_step-th layer, save mlp_only_layers."""
    step, dense = fields.count("decoder_sparse_step"), fields.layers("mlp_only_layers", num_layers)
    return tuple(layer for layer in range(num_layers) if layer in dense or (layer + 1) % step)


def dense_first(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """DeepseekV2DecoderLayer, V3's, Glm4Moe's, Dots1's: the first first_k_dense_replace layers are dense."""
    if fields.values.get("moe_layer_freq", 1) != 1:
        fields.refuse("moe_layer_freq", "1: experts in every layer after the dense ones")
    return tuple(range(min(num_layers, fields.count("first_k_dense_replace", least=0))))


def dense_around(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """Ernie4_5_MoeDecoderLayer: experts in every moe_layer_interval-th layer from start to end index."""
    each, first = fields.count("moe_layer_interval"), fields.count("moe_layer_start_index", least=0)
    last = num_layers - 1
    if fields.values.get("moe_layer_end_index") not in (None, -1):
        last = fields.count("moe_layer_end_index", least=0)
    return tuple(layer for layer in range(num_layers) if not first <= layer <= last or (layer + 1) % each)


def dense_interleaved(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """Llama4TextConfig: experts in moe_layers, or in every interleave_moe_layer_step-th layer."""
    if fields.values.get("moe_layers") is not None:
        with_experts = fields.layers("moe_layers", num_layers)
    else:
        each = fields.count("interleave_moe_layer_step")
        with_experts = frozenset(range(each - 1, num_layers, each))
    return tuple(layer for layer in range(num_layers) if layer not in with_experts)
