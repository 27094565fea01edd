"""Mutated cluster sections and tool outputs: a cluster, or one clear message of ours."""

import copy
import json
import random
from pathlib import Path
from typing import Any

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.machine import Machine, read_machine
from shardwright.cluster.stated import stated_cluster
from shardwright.errors import EnvironmentLacksError, InputError
from tests.cluster.recordings import machine_with, recorded

SECTIONS = 1500
OUTPUTS = 1500

OWN_LINK = {"bandwidth_bytes_per_s": 2e11, "latency_s": 1e-6}
OWN_GPU = {
    "name": "X1",
    "memory_bytes": "64 GB",
    "memory_bandwidth_bytes_per_s": 2e12,
    "peak_flops": {"bf16": 3e14, "fp8": 6e14},
    "num_sms": 100,
    "scale_up_link": "NVLink4",
}
BASES: tuple[dict[str, Any], ...] = (
    {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": 8, "scale_out": "NDR"},
    {"gpu": "GB200", "nodes": 18, "gpus_per_node": 4, "scale_up_gpus": 72},
    {"gpu": "auto", "hosts": ["a slots=8", "b slots=8"]},
    {"gpu": OWN_GPU, "nodes": 3, "gpus_per_node": 4, "scale_up": OWN_LINK, "scale_out": OWN_LINK},
)
ODD = (None, True, 0, -1, 3, 10**30, 0.5, float("nan"), float("inf"), "", "auto", "NDR", "GB200", "0", "8 GB")
ODDER = ([], [None], ["a"], {}, {"name": "x"}, {1: 2}, "\0", "é", "x" * 5000, b"bytes", [[]], {"gpu": {}})
KEYS = (
    "gpu",
    "nodes",
    "hosts",
    "gpus_per_node",
    "scale_up",
    "scale_out",
    "scale_up_gpus",
    "vendor",
    "kind",
    7,
)


def h100x8() -> Machine:
    return read_machine(machine_with(gpus=recorded("h100x8.gpus.csv"), topo=recorded("h100x8.topo.txt")))


def mutated(section: Any, rng: random.Random) -> Any:
    if isinstance(section, dict) and section and rng.random() < 0.9:
        key = rng.choice(list(section))
        match rng.randrange(5):
            case 0:
                return {name: value for name, value in section.items() if name != key}
            case 1:
                return {**section, rng.choice(KEYS): rng.choice(ODD + ODDER)}
            case _:
                return {**section, key: mutated(section[key], rng)}
    return rng.choice(ODD + ODDER)


def test_sections() -> None:
    rng, machine = random.Random(5), h100x8()
    built = refused = 0
    for _ in range(SECTIONS):
        section: Any = copy.deepcopy(rng.choice(BASES))
        for _ in range(rng.randint(1, 2)):
            section = mutated(section, rng)
        try:
            cluster, said = stated_cluster(section, Path("/nowhere"), lambda: machine)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
            assert error.field
        else:
            built += 1
            assert Cluster.model_validate_json(cluster.model_dump_json()) == cluster
            assert all(said)
            assert cluster.gpus_per_domain % cluster.gpus_per_node == 0
    assert built > 100
    assert refused > 800


TEXTS = (
    ("gpus", "h100x8.gpus.csv"),
    ("gpus", "h200x8.gpus.csv"),
    ("topo", "h100x8.topo.txt"),
    ("topo", "pciex5.topo.txt"),
    ("amd", "mi300x.amd-smi.json"),
    ("rocm", "mi300x8.rocm-smi.json"),
)
PIECES = (
    "\n",
    ",",
    "\t",
    "{",
    "}",
    "[",
    "]",
    '"',
    "null",
    "NV18",
    "GPU9",
    "MiB",
    "0",
    "9" * 40,
    "\x1b[4m",
    "\x00",
    "é",
)


def damaged(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        match rng.randrange(4):
            case 0:
                text = text[:at] + text[min(end, at + 40) :]
            case 1:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + text[at:end] + text[at:]
            case _:
                lines = text.splitlines(keepends=True)
                rng.shuffle(lines)
                text = "".join(lines)
    return text


def rewritten(text: str, rng: random.Random) -> str:
    """JSON with a value replaced somewhere."""

    def walk(value: Any) -> Any:
        if rng.random() < 0.1:
            return rng.choice(ODD[:8] + ODDER[:5])
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    return json.dumps(walk(json.loads(text)))


def test_outputs() -> None:
    rng = random.Random(6)
    read = refused = 0
    for _ in range(OUTPUTS):
        tool, name = rng.choice(TEXTS)
        text = recorded(name)
        text = rewritten(text, rng) if name.endswith("json") and rng.random() < 0.5 else damaged(text, rng)
        answers = {tool: text}
        if tool == "gpus":
            answers["topo"] = recorded("h100x8.topo.txt")
        if tool == "topo":
            answers["gpus"] = recorded("h100x8.gpus.csv")
        try:
            machine = read_machine(machine_with(**answers))
        except (InputError, EnvironmentLacksError) as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            read += 1
            stated_cluster("auto", machine=lambda found=machine: found)
    assert read > 100
    assert refused > 700
