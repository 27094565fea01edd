"""The deployment: model, cluster, load, targets and engine, resolved from a file or from options.

What the user leaves open is filled in and listed among the assumptions, which every output prints.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.stated import stated_cluster
from shardwright.cost.profile import Profile, profile_file
from shardwright.cost.software import ServingProfile, serving_file
from shardwright.engine.catalog import find_engine
from shardwright.engine.tuning import Tuning
from shardwright.errors import InputError
from shardwright.model.catalog import find_model
from shardwright.model.hf import read_config
from shardwright.model.spec import ModelSpec
from shardwright.plan.claims import Claims
from shardwright.plan.yamlfile import YamlFile
from shardwright.record import Count, CountOrZero, Fraction, Record, validated
from shardwright.workload.routing import RoutingProfile
from shardwright.workload.workload import (
    CLIENT_TARGETS,
    USUAL_SPREAD,
    Targets,
    Workload,
    spread_within,
)

Objective = Literal["throughput_per_gpu", "latency", "fewest_gpus", "probability"]
"""probability: to meet the targets of what clients see, which need one."""

ANY_ENGINE = "any"

T = TypeVar("T")

DEFAULT_BATCH = 128
DEFAULT_INPUT_TOKENS = 1024
DEFAULT_OUTPUT_TOKENS = 512


class Deployment(Record):
    """Everything a plan is computed from."""

    name: str
    model: ModelSpec
    cluster: Cluster
    workload: Workload
    targets: Targets = Targets()
    objective: Objective = "throughput_per_gpu"
    reserve_gpus: CountOrZero = 0
    engine: str = "vllm"
    tuning: Tuning = Tuning()
    """What a command sets of its engine instead of the defaults."""
    layout: str | None = None
    """A strategy as written: to audit, or to use as it is."""
    claims: Claims | None = None
    profile: Profile | None = None
    """What the GPUs were measured to do; None: what is shipped for them."""
    serving: ServingProfile | None = None
    """What serving engines were measured to add; None: what is shipped."""
    assumptions: tuple[str, ...] = ()

    @property
    def usable_gpus(self) -> int:
        """GPUs of the cluster less the reserve."""
        return self.cluster.num_gpus - self.reserve_gpus


class WorkloadFields(Record):
    """The load as somebody states it: what is left open is None."""

    batch: Count | None = None
    concurrency: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    max_model_len: Count | None = None
    spread: Fraction | None = None
    routing: RoutingProfile = RoutingProfile()


class _Reserve(Record):
    gpus: CountOrZero = 0


class _DeploymentFields(Record):
    name: str = Field(default="", max_length=200)
    model: Any
    cluster: Any
    workload: WorkloadFields = WorkloadFields()
    targets: Targets = Targets()
    objective: Objective = "throughput_per_gpu"
    reserve: _Reserve = _Reserve()
    engine: str = "vllm"
    layout: str | None = Field(default=None, max_length=200)
    claims: Claims | None = None
    profile: Any = None
    serving: Any = None
    assumptions: tuple[str, ...] = ()


def read_deployment(path: Path, overrides: Mapping[str, Any] | None = None) -> Deployment:
    """The deployment in a YAML or JSON file; `overrides` replace its fields.

    Raises InputError that names field, value, what is allowed, file and line.
    """
    file = YamlFile(path)
    try:
        values = {**file.values, **(overrides or {})}
        return resolve(values, folder=path.parent, default_name=path.stem)
    except InputError as error:
        raise InputError(
            error.field, error.value, error.allowed, where=error.where or file.where(error.field)
        ) from None


def resolve(
    values: Mapping[str, Any], *, folder: Path = Path(), default_name: str = "deployment"
) -> Deployment:
    """A deployment from plain values; paths of folders, profiles and host files are relative to `folder`.

    A profile may have been read already. The GPU that it states is known by its name.
    Raises InputError, and EnvironmentLacksError where the cluster is this machine and shows no GPU.
    """
    fields = validated(_DeploymentFields, dict(values))
    model, model_notes = _prefixed("model", lambda: _model(fields.model, folder))
    profile = stated_profile(fields.profile, folder)
    own = profile.gpu if profile is not None else None
    cluster, cluster_notes = _prefixed("cluster", lambda: stated_cluster(fields.cluster, folder, own=own))
    if profile is not None and profile.device != cluster.device.name:
        raise InputError("profile", profile.device, f"a profile of {cluster.device.name}, the cluster's GPU")
    workload, workload_notes = _workload(fields.workload, model)
    engine = fields.engine
    if engine != ANY_ENGINE:
        engine = find_engine(engine, beside=(ANY_ENGINE,)).id
    if fields.reserve.gpus >= cluster.num_gpus:
        raise InputError(
            "reserve.gpus", fields.reserve.gpus, f"fewer than the {cluster.num_gpus} GPUs of the cluster"
        )
    if fields.objective == "probability" and not any(getattr(fields.targets, t) for t in CLIENT_TARGETS):
        raise InputError(
            "objective", fields.objective, f"a target beside it, one of {', '.join(CLIENT_TARGETS)}"
        )
    notes = list(fields.assumptions) + model_notes + list(cluster_notes) + workload_notes
    if "engine" not in values:
        notes.append("engine: vllm, unstated")
    return Deployment(
        name=fields.name or default_name,
        model=model,
        cluster=cluster,
        workload=workload,
        targets=fields.targets,
        objective=fields.objective,
        reserve_gpus=fields.reserve.gpus,
        engine=engine,
        layout=fields.layout,
        claims=fields.claims,
        profile=profile,
        serving=stated_serving(fields.serving, folder),
        assumptions=tuple(notes),
    )


def stated_profile(given: object, folder: Path = Path()) -> Profile | None:
    """A profile as it was read, or of a file below `folder`; None where none is stated. Raises InputError."""
    if given is None or isinstance(given, Profile):
        return given
    if not isinstance(given, str) or "\0" in given:
        raise InputError("profile", given, "a file that `shardwright calibrate -o` wrote")
    return profile_file(folder / given)


def stated_serving(given: object, folder: Path = Path()) -> ServingProfile | None:
    """A serving profile as it was read, or of a file below `folder`. Raises InputError."""
    if given is None or isinstance(given, ServingProfile):
        return given
    if not isinstance(given, str) or "\0" in given:
        raise InputError("serving", given, "a file that `shardwright calibrate --from ROWS.csv -o` wrote")
    return serving_file(folder / given)


def _prefixed(field: str, build: Callable[[], T]) -> T:
    """`build()`, its complaints placed under `field`."""
    try:
        return build()
    except InputError as error:
        path = error.field if error.field.split(".")[0] == field else f"{field}.{error.field}"
        raise InputError(path, error.value, error.allowed, where=error.where) from None


def _model(given: Any, folder: Path) -> tuple[ModelSpec, list[str]]:
    if isinstance(given, dict):
        values = {"name": "stated-model", "family": "generic", "source": "stated in the deployment", **given}
        attention = values.get("attention")
        if isinstance(attention, dict):
            values["attention"] = {"kind": "gqa", **attention}
        return validated(ModelSpec, values), []
    if not isinstance(given, str) or not given or "\0" in given:
        raise InputError(
            "model", given, "a catalog name, a folder with config.json, or the fields of a model"
        )
    path = folder / given
    if os.path.isdir(path) or path.suffix == ".json":  # noqa: PTH112 - False, too, for names no file can have
        config = path if path.suffix == ".json" else path / "config.json"
        return read_config(config, name=str(config.parent), where=str(config)), []
    return find_model(given, look_up=True), []


def _workload(given: WorkloadFields, model: ModelSpec) -> tuple[Workload, list[str]]:
    if given.batch is not None and given.concurrency is not None:
        raise InputError("workload.concurrency", given.concurrency, "either batch or concurrency, not both")
    notes: list[str] = []

    def stated_or(field: str, stated: int | None, default: int) -> int:
        if stated is not None:
            return stated
        notes.append(f"workload.{field}: {default}, unstated")
        return default

    batch = stated_or("batch", given.batch or given.concurrency, DEFAULT_BATCH)
    output = stated_or(
        "output_tokens", given.output_tokens, min(DEFAULT_OUTPUT_TOKENS, model.max_positions // 2)
    )
    prompt = stated_or(
        "input_tokens", given.input_tokens, min(DEFAULT_INPUT_TOKENS, model.max_positions // 2)
    )
    wanted = USUAL_SPREAD if given.spread is None else given.spread
    longest = min(math.ceil((prompt + output) * (1 + wanted)), model.max_positions)
    length = stated_or("max_model_len", given.max_model_len, max(longest, prompt + output))
    if length > model.max_positions:
        raise InputError(
            "workload.max_model_len", length, f"at most the model's {model.max_positions} positions"
        )
    values = {
        "batch": batch,
        "input_tokens": prompt,
        "output_tokens": output,
        "max_model_len": length,
        "spread": stated_spread(given, prompt + output, length, notes),
        "routing": given.routing,
    }
    return validated(Workload, values, field="workload"), notes


def stated_spread(given: WorkloadFields, tokens: int, longest: int, notes: list[str]) -> float:
    """By how much lengths vary, as stated; else as they usually do, as far as `longest` leaves room.

    tokens: of a mean request. What is assumed is added to `notes`.
    """
    if given.spread is not None:
        return given.spread
    spread = spread_within(tokens, longest)
    room = "" if spread == USUAL_SPREAD else ": max_model_len leaves no room for more"
    notes.append(f"workload.spread: {spread:g} to either side of mean lengths, unstated{room}")
    return spread
