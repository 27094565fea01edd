"""What surrounds a command: the facts of its model, the GPUs it runs on, and what it sets of its engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shardwright.cluster.catalog import find_device
from shardwright.cluster.stated import AUTO
from shardwright.cost.profile import Profile
from shardwright.engine.commands.reading import Arguments
from shardwright.engine.commands.server import Server
from shardwright.engine.tuning import Tuning
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.model.catalog import find_model
from shardwright.model.dtype import BITS, Dtype
from shardwright.model.spec import ModelSpec
from shardwright.plan.deployment import Deployment, resolve, stated_profile

GPUS_PER_NODE = 8
"""Of a device of one's own, which says nothing of its nodes."""


def model_of(arguments: Arguments, surroundings: Mapping[str, Any], folder: Path) -> ModelSpec:
    """The model's facts, stored as the command says, under the name that the command has.

    Raises InputError where none is named or known.
    """
    named, facts = arguments.settings.get("model"), surroundings.get("model")
    if named is None:
        raise InputError("model", None, "a model in the command, such as Qwen/Qwen3-30B-A3B")
    assert isinstance(named, str)
    if facts is None:
        try:
            return _stored(find_model(named), arguments)
        except InputError as error:
            allowed = f"{error.allowed}; or --model with a catalog name or a folder with config.json"
            raise InputError("model", named, allowed) from None
    minimal = {"model": facts, "cluster": {"gpu": "H100-SXM-80GB"}}
    model = resolve(minimal, folder=folder).model
    return _stored(model.model_copy(update={"name": named[:200]}), arguments)


def _stored(model: ModelSpec, arguments: Arguments) -> ModelSpec:
    """The model with the dtypes that the command sets; a checkpoint that is quantised stays as it is."""
    settings = arguments.settings
    changes: dict[str, Dtype] = {}
    for name, narrows in (("dtype", False), ("weight_dtype", True)):
        dtype = settings.get(name)
        if dtype in BITS and model.weight_bytes >= 2 and (not narrows or model.expert_bytes >= 2):
            changes["weight_dtype"] = dtype  # type: ignore[assignment]
    if settings.get("kv_dtype") in BITS:
        changes["kv_dtype"] = settings["kv_dtype"]  # type: ignore[assignment]
    return model.model_copy(update=changes)


def deployment_around(
    arguments: Arguments,
    server: Server,
    model: ModelSpec,
    layout: Layout,
    surroundings: Mapping[str, Any],
    folder: Path,
) -> Deployment:
    """The deployment that the command runs in, its load still open. Raises InputError."""
    profile = stated_profile(surroundings.get("profile"), folder)
    cluster, notes = _cluster(arguments, layout, surroundings, profile)
    values = {
        **{
            name: value for name, value in surroundings.items() if name in ("targets", "objective", "reserve")
        },
        "name": f"{server.engine} command",
        "model": model.model_dump(),
        "cluster": cluster,
        "engine": server.engine,
        "profile": profile,
        "workload": {"batch": 1, "input_tokens": 1, "output_tokens": 1, "max_model_len": 2, "spread": 0},
        "assumptions": surroundings.get("assumptions") or (),
    }
    settings = arguments.settings
    sequences = settings.get("max_sequences")
    if isinstance(sequences, int) and server.sequences_of == "copy":
        sequences = max(1, sequences // layout.dp)
    tuning = Tuning.model_validate(
        {
            "utilisation": settings.get("utilisation"),
            "max_batched_tokens": settings.get("max_batched_tokens"),
            "max_sequences": sequences,
            "exchange": settings.get("exchange"),
        }
    )
    found = resolve(values, folder=folder)
    return found.model_copy(update={"tuning": tuning, "assumptions": (*found.assumptions, *notes)})


def _cluster(
    arguments: Arguments, layout: Layout, surroundings: Mapping[str, Any], profile: Profile | None
) -> tuple[dict[str, Any], list[str]]:
    """Where it runs: as stated, else as many GPUs as the layout takes, on whole nodes."""
    given = surroundings.get("cluster")
    if not isinstance(given, dict) or given.get("gpu") is None:
        allowed = "--gpu, such as H100-SXM-80GB (and --gpus), or a deployment file behind the command"
        raise InputError("--gpu", None, allowed)
    if "nodes" in given:
        return given, []
    for name in ("gpus", "gpus_per_node"):
        number = given.get(name, 1)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"cluster.{name}", number, "a whole number from 1")
    stated = given.get("gpus")
    wanted = stated or layout.num_gpus
    nodes = arguments.settings.get("nodes", 1)
    per_node = given.get("gpus_per_node") or min(wanted, _node_gpus(given["gpu"], profile))
    if isinstance(nodes, int) and nodes > 1 and "gpus_per_node" not in given and wanted % nodes == 0:
        per_node = wanted // nodes
    nodes = -(-wanted // per_node)
    if stated and nodes > 1 and wanted % per_node:
        raise InputError("--gpus", wanted, f"up to {per_node}, or whole nodes of {per_node}")
    per_node = min(per_node, wanted)
    own = {key: value for key, value in given.items() if key not in ("gpus", "nodes", "gpus_per_node")}
    note = [] if stated else [f"cluster: {nodes} x {per_node} GPUs, what the command takes: none stated"]
    return {**own, "nodes": nodes, "gpus_per_node": per_node}, note


def _node_gpus(gpu: object, profile: Profile | None) -> int:
    """GPUs of a node as the device is sold, or as it was measured. Raises InputError for an unknown name."""
    if not isinstance(gpu, str) or gpu == AUTO:
        return GPUS_PER_NODE
    return find_device(gpu, field="--gpu", own=profile.gpu if profile is not None else None).node_gpus
