"""A plan -> everything that starts it on an engine."""

import re
from dataclasses import replace

from shardwright.engine.engine import Engine
from shardwright.engine.launcher import Launcher
from shardwright.engine.start import HEAD_ADDRESS, PLACEHOLDERS, Executor, Place, Spoken
from shardwright.errors import InputError
from shardwright.launch.launch import LOOPBACK, Launch, LaunchFile, Process
from shardwright.launch.notes import notes_of
from shardwright.launch.refuse import checked_launcher, refuse_words
from shardwright.launch.script import scripts
from shardwright.launch.seats import Seat, seats_of
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.plan.plan import Plan
from shardwright.search.start import nodes_of, start_for, world_of

HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}")
LARGEST_PORT = 65535

VISIBLE = {"AMD": "HIP_VISIBLE_DEVICES"}
"""By which variable a process sees only some GPUs of its node; CUDA_VISIBLE_DEVICES elsewhere. Sources: CUDA
C++ programming guide 13.0, CUDA environment variables; ROCm 7.0, GPU isolation techniques."""


def launch_of(
    plan: Plan, engine: Engine, *, host: str = LOOPBACK, port: int | None = None, executor: Executor = "mp"
) -> Launch:
    """The processes that start the plan on `engine`, and their files.

    host: where APIs listen. port: of the first server of each node; None: the engine's own. executor: how the
    ranks of other nodes are reached.
    Raises InputError for what the engine cannot run, with the nearest layout that it can.
    """
    deployment, pool = plan.deployment, plan.pools[0]
    cluster, layout = deployment.cluster, parse_layout(pool.layout)
    launcher = checked_launcher(plan, engine, executor)
    _check_host(host)
    world = world_of(engine, layout)
    start = start_for(deployment, world, engine, pool.schedule, pool.sequences_per_rank)
    roles, nodes = launcher.roles(world), nodes_of(world, cluster)
    processes: list[Process] = []
    files: dict[str, str] = {}
    for replica in range(layout.num_gpus // world.num_gpus):
        seats = seats_of(replica, roles, cluster)
        for seat in (_all_ranks(seats),) if executor == "ray" else seats:
            place = _place(seat, nodes, launcher, host, port, executor)
            said = launcher.speak(start.model_copy(update={"place": place}))
            files |= said.files
            processes.append(_process(said, seat, replica, place, deployment.cluster.device.vendor, host))
    refuse_words(deployment.model.name, (*PLACEHOLDERS, *files))
    launch = Launch(
        name=_name(deployment.model.name),
        engine=engine.id,
        version=engine.version,
        layout=format_layout(layout),
        num_gpus=layout.num_gpus,
        num_nodes=1 + seats[-1].node,
        copies=layout.copies,
        nodes_per_copy=nodes,
        processes=tuple(processes),
        files=tuple(LaunchFile(path=name, text=text) for name, text in files.items()),
        health=launcher.health,
        notes=notes_of(plan, engine, executor),
    )
    return launch.model_copy(update={"files": (*launch.files, *scripts(launch, launcher))})


def _place(
    seat: Seat, nodes: int, launcher: Launcher, host: str, port: int | None, executor: Executor
) -> Place:
    """Every server listens; a process that is part of another's server does not."""
    first_port = port or launcher.first_port
    beside = seat.role != "" and not seat.answers
    listens = first_port + seat.index * launcher.port_step + (1 if beside else 0)
    if listens > LARGEST_PORT:
        allowed = f"a port that leaves those of all servers of a node at most {LARGEST_PORT}"
        raise InputError("--port", first_port, allowed)
    own_api = launcher.health != "" and (seat.answers or beside or launcher.world == "mpi")
    return Place(
        nodes=nodes,
        node_rank=seat.node_rank,
        head=HEAD_ADDRESS if nodes > 1 else LOOPBACK,
        host=host if own_api else None,
        port=listens if own_api else None,
        executor=executor,
        role=seat.role,
        index=seat.index,
    )


def _process(said: Spoken, seat: Seat, replica: int, place: Place, vendor: str, host: str) -> Process:
    visible = VISIBLE.get(vendor, "CUDA_VISIBLE_DEVICES")
    chosen = {visible: ",".join(map(str, seat.gpus))} if seat.gpus else {}
    return Process(
        name=f"copy{replica}-{seat.role or f'node{seat.node_rank}'}",
        replica=replica,
        node=seat.node,
        node_rank=seat.node_rank,
        gpus=seat.gpus,
        ranks=seat.ranks,
        environment={**chosen, **said.environment},
        argv=said.argv,
        host=host,
        port=place.port if seat.answers else None,
    )


def _all_ranks(seats: tuple[Seat, ...]) -> Seat:
    """The one process that has Ray start all ranks of a copy, on GPUs that Ray chooses."""
    return replace(seats[0], gpus=(), ranks=tuple(rank for seat in seats for rank in seat.ranks))


def _name(model: str) -> str:
    """Letters, digits and dashes of the model's last part: as files and pods are named."""
    last = model.rstrip("/").rpartition("/")[2].lower()
    return re.sub("[^a-z0-9]+", "-", last).strip("-")[:40].strip("-") or "model"


def _check_host(host: str) -> None:
    if not HOST.fullmatch(host):
        raise InputError("--host", host, "an address or a name of this machine, such as 127.0.0.1 or 0.0.0.0")
