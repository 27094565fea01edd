"""A launch whose processes run in pods: manifests instead of scripts."""

from pathlib import Path

from shardwright.engine.engine import Engine
from shardwright.errors import InputError
from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.launch import Launch
from shardwright.launch.notes import notes_of_plan
from shardwright.plan.plan import Plan
from shardwright.plan.yamlfile import YamlFile
from shardwright.record import validated

KUBERNETES = "kubernetes"
"""The name that `launch --engine` takes for the plan's engine in pods."""


def in_pods(launch: Launch, plan: Plan, engine: Engine, options: KubernetesOptions) -> Launch:
    """The launch with the files and the notes of its pods. Raises InputError for what no pods can run."""
    made = kubernetes_files(launch, plan, options)
    notes = (*notes_of_plan(plan, engine), *made.notes)
    return launch.model_copy(update={"files": made.files, "notes": notes})


def options_file(path: Path) -> KubernetesOptions:
    """The options in a YAML file. Raises InputError that names field, value, what is allowed and line."""
    file = YamlFile(path, holds="pods")
    try:
        return validated(KubernetesOptions, file.values)
    except InputError as error:
        where = file.where(error.field)
        raise InputError(f"pods.{error.field}", error.value, error.allowed, where=where) from None
