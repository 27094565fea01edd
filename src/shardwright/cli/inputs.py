"""What several verbs share: the deployment from a file or from options, and where results go."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from shardwright.cluster.catalog import find_device
from shardwright.cluster.stated import AUTO
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import (
    Deployment,
    Objective,
    read_deployment,
    resolve,
    stated_profile,
    stated_serving,
)
from shardwright.plan.file import PLAN_FILE, read_plan
from shardwright.plan.strategy import resolve_layout
from shardwright.search.search import search

F = TypeVar("F", bound=Callable[..., Any])

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

Options = tuple[tuple[str, type, str], ...]
"""Flag, kind of value, what it says."""

WORKLOAD_OPTIONS: Options = (
    ("--batch", int, "sequences in flight over all copies"),
    ("--input-tokens", int, "tokens of a prompt, on average"),
    ("--output-tokens", int, "tokens of an answer, on average"),
    ("--spread", float, "share by which lengths vary to either side of these (0.1; 0: all are equal)"),
    ("--max-model-len", int, "longest sequence to serve"),
)
TARGET_OPTIONS: Options = (
    ("--tpot-ms", float, "target: milliseconds between two tokens of a sequence"),
    ("--ttft-ms", float, "target: milliseconds to the first token"),
    ("--throughput-tokens-per-s", float, "target: output tokens a second"),
    ("--communication-fraction", float, "target: share of a step spent in communication"),
    ("--memory-gb", float, "target: used memory of a GPU in GB"),
)
CLUSTER_OPTIONS: Options = (
    ("--model", str, "catalog name, folder with config.json, or hub id"),
    ("--gpu", str, "GPU of the catalog, e.g. H100-SXM-80GB, or auto: this machine"),
    ("--gpus", int, "number of GPUs"),
    ("--gpus-per-node", int, "GPUs of a node (as the GPU is sold: mostly 8)"),
    ("--hosts", str, "host file that names the nodes, instead of --gpus"),
    ("--engine", str, "engine that must run the layout (vllm)"),
    ("--layout", str, "use this layout: canonical, or as people write it"),
    ("--reserve", int, "GPUs to keep spare"),
    ("--profile", str, "file of `calibrate -o`: what these GPUs were measured to do"),
    ("--serving", str, "file of `calibrate --from ROWS.csv -o`: what one's own servers were measured to do"),
)


def deployment_options(function: F) -> F:
    """The options that state a deployment without a file."""
    for options in (TARGET_OPTIONS, WORKLOAD_OPTIONS):
        function = _with(options, function)
    function = click.option("--objective", type=click.Choice(OBJECTIVES), help="what is best")(function)
    return _with(CLUSTER_OPTIONS, function)


def _with(options: Options, function: F) -> F:
    for flag, kind, text in reversed(options):
        function = click.option(flag, type=kind, help=text)(function)
    return function


def deployment_from(path: Path | None, options: dict[str, Any]) -> Deployment:
    """The deployment of a file, of a plan, or of options; options override what a file says."""
    given = {name: value for name, value in options.items() if value is not None}
    if path is not None and is_plan(path):
        _only(given, ("layout",), "a plan")
        plan = read_plan(path)
        return plan.deployment.model_copy(update={"layout": plan.pools[0].layout, **given})
    # A path in a file is relative to the file, an option's to where the user stands.
    for name, read in (("profile", stated_profile), ("serving", stated_serving)):
        if name in given:
            given[name] = read(given[name])
    if path is not None:
        _only(given, ("layout", "objective", "engine", "profile", "serving"), "a deployment file")
        return read_deployment(path, overrides=given)
    counted = given.get("gpu") == AUTO or "hosts" in given
    for needed in ("model", "gpu", *(() if counted else ("gpus",))):
        if needed not in given:
            raise InputError(f"--{needed}", "nothing", "a deployment file, or --model, --gpu and --gpus")
    return resolve(_values(given))


def is_plan(path: Path) -> bool:
    """Whether a path is that of a plan: a folder, a plan.json, or another .json file that holds one."""
    if path.is_dir() or path.name == PLAN_FILE:
        return True
    if path.suffix != ".json":  # a pipe can be read once only
        return False
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "pools" in values


def layout_of(path: Path | None, layout: str | None) -> Layout:
    """The layout of a plan or a deployment (the best one where it names none), or a canonical one alone."""
    if path is None:
        if layout is None:
            raise InputError("layout", None, "a plan, a deployment file, or a canonical --layout")
        return parse_layout(layout)
    return layout_for(deployment_from(path, {"layout": layout}))


def layout_for(deployment: Deployment) -> Layout:
    """The layout that a deployment names, else the best one for it."""
    if deployment.layout is not None:
        return resolve_layout(deployment, deployment.layout)[0]
    return parse_layout(search(deployment, num_alternatives=0).pools[0].layout)


def _only(given: dict[str, Any], allowed: tuple[str, ...], beside: str) -> None:
    for name, value in given.items():
        if name not in allowed:
            flags = ", ".join(f"--{flag}" for flag in allowed)
            raise InputError(f"--{name.replace('_', '-')}", value, f"only {flags} beside {beside}")


def _cluster(given: dict[str, Any]) -> dict[str, Any]:
    """The section `cluster`: hosts, else whole nodes, or one node with fewer GPUs."""
    stated: dict[str, Any] = {
        name: given[name] for name in ("gpu", "gpus_per_node", "hosts") if name in given
    }
    for flag in ("gpus", "gpus_per_node"):
        if given.get(flag, 1) < 1:
            raise InputError(f"--{flag.replace('_', '-')}", given[flag], "a whole number from 1")
    if "gpus" not in given:
        return stated
    num_gpus = given["gpus"]
    if "hosts" in given:
        raise InputError("--gpus", num_gpus, "nothing beside --hosts: every host has --gpus-per-node")
    if given["gpu"] == AUTO:
        per_node = given.get("gpus_per_node", num_gpus)
    else:
        own = given["profile"].gpu if "profile" in given else None
        per_node = given.get("gpus_per_node") or find_device(given["gpu"], field="--gpu", own=own).node_gpus
    if num_gpus > per_node and num_gpus % per_node:
        raise InputError("--gpus", num_gpus, f"up to {per_node}, or whole nodes of {per_node}")
    return {**stated, "nodes": -(-num_gpus // per_node), "gpus_per_node": min(num_gpus, per_node)}


def _where(given: dict[str, Any]) -> str:
    """'16 x H100', or whose GPUs they are."""
    if "gpus" in given:
        return f"{given['gpus']} x {'GPUs of this machine' if given['gpu'] == AUTO else given['gpu']}"
    return "this machine" if "hosts" not in given else f"the hosts of {given['hosts']}"


def _values(given: dict[str, Any]) -> dict[str, Any]:
    def section(options: Options) -> dict[str, Any]:
        fields = [flag[2:].replace("-", "_") for flag, *_ in options]
        return {field: given[field] for field in fields if field in given}

    values: dict[str, Any] = {
        "name": f"{given['model']} on {_where(given)}",
        "model": given["model"],
        "cluster": _cluster(given),
        "workload": section(WORKLOAD_OPTIONS),
        "targets": section(TARGET_OPTIONS),
    }
    as_given = ("engine", "objective", "layout", "profile", "serving")
    values.update({name: given[name] for name in as_given if name in given})
    if "reserve" in given:
        values["reserve"] = {"gpus": given["reserve"]}
    return values
