"""Manifests read as a cluster reads them, by the documents of Kubernetes and LeaderWorkerSet alone."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from shardwright.launch.launch import LaunchFile

Manifest = dict[str, Any]
NAMESPACE = "default"


@dataclass(frozen=True)
class Pod:
    """What one pod would run: argv and environment after Kubernetes put its variables in their places."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    gpus: int
    template: Manifest

    @property
    def labels(self) -> dict[str, str]:
        return self.template["metadata"]["labels"]


def manifests(files: tuple[LaunchFile, ...]) -> list[Manifest]:
    found = [document for file in files for document in yaml.safe_load_all(file.text)]
    assert len(found) == len(files), "one object a file"
    return found


def of_kind(files: tuple[LaunchFile, ...], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests(files) if manifest["kind"] == kind]


def pods(files: tuple[LaunchFile, ...]) -> list[Pod]:
    """Every pod that the controllers would make of the manifests."""
    found: list[Pod] = []
    for manifest in manifests(files):
        name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
        match manifest["kind"]:
            case "Deployment":
                found += [_pod(f"{name}-{i}", spec["template"], {}) for i in range(spec["replicas"])]
            case "Job":
                for index in range(spec["completions"]):
                    variables = {"JOB_COMPLETION_INDEX": str(index)}
                    found.append(_pod(f"{name}-{index}", spec["template"], variables))
            case "LeaderWorkerSet":
                group = spec["leaderWorkerTemplate"]
                for replica in range(spec["replicas"]):
                    for index in range(group["size"]):
                        template = group["workerTemplate" if index else "leaderTemplate"]
                        variables = {
                            "LWS_LEADER_ADDRESS": f"{name}-{replica}.{name}.{NAMESPACE}",
                            "LWS_GROUP_SIZE": str(group["size"]),
                            "LWS_WORKER_INDEX": str(index),
                        }
                        found.append(_pod(f"{name}-{replica}-{index}", template, variables))
    return found


def expanded(text: str, variables: dict[str, str]) -> str:
    """$(NAME) as the variable, or as it stands where there is none; $$ as one $."""

    def put(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", put, text, flags=re.DOTALL)


def _pod(name: str, template: Manifest, injected: dict[str, str]) -> Pod:
    (container,) = template["spec"]["containers"]
    variables = dict(injected)
    for entry in container["env"]:
        value = entry.get("value")
        if value is None:
            value = str(next(iter(entry["valueFrom"].values())))
        assert isinstance(value, str), "a value of the environment is a string"
        variables[entry["name"]] = expanded(value, variables)
    words = [*container["command"], *container["args"]]
    assert all(isinstance(word, str) for word in words)
    limits = container["resources"]["limits"]
    gpus = sum(int(count) for resource, count in limits.items() if resource.endswith("/gpu"))
    return Pod(name, tuple(expanded(word, variables) for word in words), variables, gpus, template)
