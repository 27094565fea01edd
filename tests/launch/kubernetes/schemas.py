"""Manifests held against schemas, offline.

Kubernetes' own objects: its OpenAPI schemas as `kubernetes-validate` ships them, unknown fields refused.
LeaderWorkerSet: its pod templates as Kubernetes' PodTemplate, what is around them by a schema of the fields,
types and values that its API reference lists (kubernetes-sigs/lws, docs/reference/leaderworkerset.v1 and
api/leaderworkerset/v1/leaderworkerset_types.go).
"""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

VERSIONS = ("1.30", "1.37")
"""The oldest and the newest release that the manifests are for."""

LEADER_WORKER_SET = json.loads(
    (Path(__file__).parent / "leaderworkerset.v1.json").read_text(encoding="utf-8")
)


@functools.cache
def _read(filename: str, version: str) -> Any:
    return _contents(filename, version)


_contents = utils.schema_contents
utils.schema_contents = _read  # read once: each call parses megabytes


def check(manifest: dict[str, Any]) -> None:
    """Raises jsonschema's ValidationError where a cluster would refuse the manifest."""
    if manifest["kind"] == "LeaderWorkerSet":
        jsonschema.validate(manifest, LEADER_WORKER_SET)
        group = manifest["spec"]["leaderWorkerTemplate"]
        metadata = manifest["metadata"]
        _check({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        for template in (group["leaderTemplate"], group["workerTemplate"]):
            named = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
            _check({**named, "template": template})
    else:
        _check(manifest)


def _check(manifest: dict[str, Any]) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
