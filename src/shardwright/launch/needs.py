"""What a launch needs of this machine before it is started: programs, ports, GPUs, memory."""

import os
import shutil
import socket
from collections.abc import Callable, Mapping

from shardwright.cluster.catalog import device_names
from shardwright.cluster.machine import Machine, read_machine
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.launch.launch import Launch, Process
from shardwright.plan.plan import Plan
from shardwright.units import format_bytes


def check_startable(launch: Launch) -> None:
    """Raises InputError for a launch that one machine cannot start by its commands alone."""
    beside = [file.path for file in launch.files if not file.executable]
    reason = ""
    if launch.num_nodes > 1:
        reason = f"a launch on one node, not {launch.num_nodes}: run start-node*.sh of -o DIR on each"
    elif not launch.health:
        reason = "an engine that serves"
    elif beside:
        reason = f"an engine that needs no {beside[0]} beside it: run start-node0.sh of -o DIR"
    if reason:
        raise InputError("--start", launch.engine, reason)


def program_of(name: str, environment: Mapping[str, str]) -> str:
    """The file of a program. Raises EnvironmentLacksError where the PATH has none."""
    path = environment.get("PATH", os.defpath)
    program = shutil.which(name, path=path)
    if program is None:
        raise EnvironmentLacksError(
            f"{name} is not installed here: no program of that name on the PATH; say in which folder it is "
            "with --engine-path"
        )
    return program


def check_port(process: Process) -> None:
    """Raises EnvironmentLacksError where the port of the process's API is taken."""
    if process.port is None:
        return
    try:
        family = socket.getaddrinfo(process.host, process.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as asked:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asked.bind((process.host, process.port))
    except OSError as error:
        raise EnvironmentLacksError(
            f"port {process.port} of {process.host} cannot be had ({error.strerror}): stop what listens "
            "there, or choose another with --port"
        ) from None


def check_memory(needed_bytes: float, available: int | None) -> None:
    """Raises EnvironmentLacksError where the ranks need more of this machine's memory than is available."""
    if available is not None and needed_bytes > available:
        raise EnvironmentLacksError(
            f"too little memory: the ranks need {format_bytes(needed_bytes)} by the plan, and "
            f"{format_bytes(available)} are available on this machine"
        )


def check_devices(plan: Plan, num_ranks: int, machine: Callable[[], Machine] = read_machine) -> bool:
    """Whether the ranks share the memory of this machine's CPU: it shows no GPU, and the plan is for a device
    that the catalog of GPUs does not have.

    Raises EnvironmentLacksError where the plan is for GPUs that are not here.
    """
    device = plan.deployment.cluster.device.name
    try:
        here = machine()
    except EnvironmentLacksError:
        if device in device_names():
            message = f"the plan is for {num_ranks} x {device}, and this machine shows no GPU"
            raise EnvironmentLacksError(message) from None
        return True
    except InputError:  # GPUs that the catalog lacks: whether they are the plan's, nobody can tell
        return False
    if device in device_names() and here.device.name != device:
        raise EnvironmentLacksError(f"the plan is for {device}, and this machine has {here.device.name}")
    if here.num_gpus < num_ranks:
        raise EnvironmentLacksError(f"the plan needs {num_ranks} GPUs, and this machine has {here.num_gpus}")
    return False
