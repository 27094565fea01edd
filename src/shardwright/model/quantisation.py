"""quantization_config -> which linear layers are stored by which scheme: one row a method.

A method says what its formats hold (formats.py) and which modules it converts; that is resolved here,
against the model's own weights, into ModelSpec.quantised.

No method converts embeddings, norms, routers or the gate of a shared expert, whether or not it lists them:
the first two are no linear layers, and engines make the others without quantisation (vLLM: quant_config=None
of the gates in vllm/model_executor/models).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from shardwright.model.dtype import Dtype
from shardwright.model.fields import Fields
from shardwright.model.formats import (
    awq,
    compressed_tensors,
    fbgemm_fp8,
    fp8,
    gptq,
    modelopt,
    modelopt_format,
    mxfp4,
)
from shardwright.model.patterns import EVERY_LINEAR, Patterns
from shardwright.model.scheme import Quantised, Scheme
from shardwright.model.spec import ModelSpec
from shardwright.model.weight import Weight
from shardwright.model.weights import module_name, weights


@dataclass(frozen=True, kw_only=True)
class Group:
    """A scheme and the modules that have it: those that `targets` speaks of, or every linear layer."""

    scheme: Scheme
    targets: Patterns | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a quantization_config says. The first group that speaks of a module by name has it, then one of
    all linear layers; `ignored` modules have none. head: whether lm_head is one of those."""

    groups: tuple[Group, ...]
    ignored: tuple[Patterns, ...]
    head: bool = False

    def scheme_of(self, row: Weight) -> Scheme | None:
        """The scheme of the row's matrix; None for what is not converted."""
        is_gate = row.part == "router" or (row.part == "shared" and row.shape[0] == 1)
        if len(row.shape) == 1 or row.part == "embedding" or is_gate:
            return None
        if row.part == "head" and not self.head:
            return None
        name = row.name.removesuffix(".weight").format(expert=0)
        if any(patterns.match(name) for patterns in self.ignored):
            return None
        named = (group.scheme for group in self.groups if group.targets and group.targets.match(name))
        others = (group.scheme for group in self.groups if group.targets is None)
        return next(named, None) or next(others, None)


def quantise(spec: ModelSpec, section: Fields) -> ModelSpec:
    """The model with its weights, and its KV cache, as quantization_config has them.

    section: that object. Raises InputError for a method or a format that is not modelled.
    """
    if "quant_algo" in section.values:
        section = section.over({"quant_method": "modelopt"})
    reading = section.one_of("quant_method", METHODS)(section)
    groups = tuple(_resolved(spec, reading))
    if not groups:
        section.refuse("quant_method", f"a method that converts linear layers which {spec.family} has")
    converted = spec.model_copy(update={"quantised": groups})
    updates: dict[str, object] = {"quantised": groups, "kv_dtype": _kv_dtype(section) or spec.kv_dtype}
    updates["weight_dtype"] = _commonest(converted, of_experts=False)
    if spec.experts is not None:
        own = _commonest(converted, of_experts=True)
        differs = own if own != updates["weight_dtype"] else None
        updates["experts"] = spec.experts.model_copy(update={"weight_dtype": differs})
    return spec.model_copy(update=updates)


def _resolved(spec: ModelSpec, reading: Reading) -> Iterator[Quantised]:
    """Modules that share a scheme in the same layers, together."""
    layers_of: dict[tuple[str, Scheme], list[int]] = {}
    all_layers_of: dict[str, list[int]] = {}
    for row in weights(spec):
        module = module_name(replace(row, name=_within_layer(row)))
        layer = -1 if row.layer is None else row.layer
        all_layers_of.setdefault(module, []).append(layer)
        scheme = reading.scheme_of(row)
        if scheme is not None:
            layers_of.setdefault((module, scheme), []).append(layer)
    alike: dict[tuple[Scheme, tuple[int, ...] | None], list[str]] = {}
    for (module, scheme), layers in layers_of.items():
        everywhere = len(set(layers)) == len(set(all_layers_of[module]))
        key = (scheme, None if everywhere else tuple(sorted(set(layers))))
        alike.setdefault(key, []).append(module)
    for (scheme, some), modules in alike.items():
        yield Quantised(scheme=scheme, modules=tuple(modules), layers=some)


def _within_layer(row: Weight) -> str:
    """The row's name from within its layer, or from within the model's outermost module."""
    return row.name.partition(f".layers.{row.layer}.")[2] if row.layer is not None else _outer(row.name)


def _outer(name: str) -> str:
    return name[name.rindex("lm_head") :] if "lm_head" in name else name


def _commonest(spec: ModelSpec, *, of_experts: bool) -> Dtype:
    """The dtype of most elements of the routed experts, or of all other linear layers in the layers."""
    schemes = {
        (module, layer): group.scheme.dtype
        for group in spec.quantised
        for layer in (range(spec.num_layers) if group.layers is None else group.layers)
        for module in group.modules
    }
    elements: Counter[Dtype] = Counter()
    parts = ("expert",) if of_experts else ("attention", "dense", "shared")
    for row in weights(spec):
        if row.part in parts and row.layer is not None and len(row.shape) > 1:
            module = module_name(replace(row, name=_within_layer(row)))
            elements[schemes.get((module, row.layer), "bf16")] += row.num_elements
    return max(elements, key=lambda dtype: elements[dtype])


def _kv_dtype(section: Fields) -> Dtype | None:
    """The dtype of the KV cache that the checkpoint has scales for; None where it says nothing of it."""
    for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
        match section.values.get(key):
            case None:
                continue
            case "FP8" | {"num_bits": 8, "type": "float"}:
                return "fp8"
            case {"num_bits": 8, "type": "int"}:
                return "int8"
            case _:
                section.refuse(key, "null, FP8, or num_bits 8 of type float or int")
    return None


def _one_scheme(read: Callable[[Fields], Scheme]) -> Callable[[Fields], Reading]:
    """A method that stores every linear layer alike, save those that it lists."""

    def reading(section: Fields) -> Reading:
        ignored = Patterns(section, "modules_to_not_convert", "ignored_layers")
        return Reading(groups=(Group(scheme=read(section)),), ignored=(ignored,))

    return reading


def _gptq(section: Fields) -> Reading:
    if section.values.get("modules_in_block_to_quantize") is not None:
        section.refuse("modules_in_block_to_quantize", "null: every linear layer is converted")
    rules = section.section("dynamic") if section.values.get("dynamic") is not None else Fields({})
    for rule in rules.values:
        if not rule.startswith("-:"):
            rules.refuse(rule, "rules that begin with '-:', which leave modules as they are")
    left = Fields({"dynamic": ["re:" + rule[2:] for rule in rules.values]}, section.where, section.prefix)
    ignored = (Patterns(section, "modules_to_not_convert"), Patterns(left, "dynamic"))
    return Reading(groups=(Group(scheme=gptq(section)),), ignored=ignored, head=section.flag("lm_head"))


def _mxfp4(section: Fields) -> Reading:
    """Mxfp4HfQuantizer of transformers 5.23.0 converts the experts of gpt-oss and nothing else."""
    experts = Patterns(Fields({"experts": ["experts"]}), "experts")
    ignored = Patterns(section, "modules_to_not_convert")
    return Reading(groups=(Group(scheme=mxfp4(section), targets=experts),), ignored=(ignored,))


def _compressed_tensors(section: Fields) -> Reading:
    stated = section.section("config_groups")
    groups = []
    for name in stated.values:
        group = stated.section(name)
        scheme = compressed_tensors(group, section)
        if EVERY_LINEAR in group.texts("targets"):
            groups.append(Group(scheme=scheme))
        groups.append(Group(scheme=scheme, targets=Patterns(group, "targets")))
    ignored = (Patterns(section, "ignore"),)
    return Reading(groups=tuple(groups), ignored=ignored, head=True)


def _modelopt(section: Fields) -> Reading:
    ignored = (Patterns(section, "ignore", "exclude_modules"),)
    if section.values.get("quant_algo") != "MIXED_PRECISION":
        groups: tuple[Group, ...] = (Group(scheme=modelopt(section)),)
        return Reading(groups=groups, ignored=ignored, head=True)
    listed = section.section("quantized_layers")
    modules: dict[Scheme, list[str]] = {}
    for name in listed.values:
        modules.setdefault(modelopt_format(listed.section(name)), []).append(name)
    groups = tuple(
        Group(scheme=scheme, targets=Patterns(Fields({"quantized_layers": names}), "quantized_layers"))
        for scheme, names in modules.items()
    )
    return Reading(groups=groups, ignored=ignored, head=True)


METHODS: Mapping[str, Callable[[Fields], Reading]] = {
    "fp8": _one_scheme(fp8),
    "fbgemm_fp8": _one_scheme(fbgemm_fp8),
    "awq": _one_scheme(awq),
    "gptq": _gptq,
    "mxfp4": _mxfp4,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
}
"""quantization_config.quant_method -> how it is read."""
