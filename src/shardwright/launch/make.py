"""A plan -> everything that starts it on an engine."""

import re

from shardwright.cluster.cluster import Cluster
from shardwright.engine.engine import Engine
from shardwright.engine.start import HEAD_ADDRESS, Executor, Place, Spoken
from shardwright.errors import InputError
from shardwright.launch.launch import LOOPBACK, Launch, LaunchFile, Process
from shardwright.launch.notes import notes_of
from shardwright.launch.refuse import checked_launcher, refuse_words
from shardwright.launch.script import scripts
from shardwright.launch.seats import Seat, num_nodes, seats_of
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.plan.plan import Plan
from shardwright.search.start import start_for

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
    world = layout.model_copy(update={"copies": 1}) if launcher.copies_apart else layout
    start = start_for(deployment, world, engine, pool.schedule, pool.sequences_per_rank)
    first_port = port or launcher.first_port
    processes: list[Process] = []
    files: dict[str, str] = {}
    for replica in range(layout.num_gpus // world.num_gpus):
        for seat in _started_seats(replica, world, cluster, executor):
            listens = first_port + seat.place * launcher.port_step
            _check_port(listens, port)
            place = Place(
                nodes=num_nodes(world.num_gpus, cluster),
                node_rank=seat.node_rank,
                head=HEAD_ADDRESS,
                host=host if seat.node_rank == 0 else None,
                port=listens if seat.node_rank == 0 else None,
                executor=executor,
            )
            said = launcher.speak(start.model_copy(update={"place": place}))
            files |= said.files
            processes.append(_process(said, seat, replica, cluster, place, host))
    refuse_words(deployment.model.name, (HEAD_ADDRESS, *files))
    launch = Launch(
        name=_name(deployment.model.name),
        engine=engine.id,
        version=engine.version,
        layout=format_layout(layout),
        num_gpus=layout.num_gpus,
        num_nodes=_last_node(layout, world, cluster) + 1,
        copies=layout.copies,
        nodes_per_copy=num_nodes(world.num_gpus, cluster),
        processes=tuple(processes),
        files=tuple(LaunchFile(path=name, text=text) for name, text in files.items()),
        health=launcher.health,
        notes=notes_of(plan, engine, executor),
    )
    return launch.model_copy(update={"files": (*launch.files, *scripts(launch, launcher.world))})


def _started_seats(replica: int, world: Layout, cluster: Cluster, executor: Executor) -> tuple[Seat, ...]:
    """Where processes are started: on every node of a copy, or on its first where Ray starts the others."""
    seats = seats_of(replica, world.num_gpus, cluster)
    return seats[:1] if executor == "ray" else seats


def _process(said: Spoken, seat: Seat, replica: int, cluster: Cluster, place: Place, host: str) -> Process:
    by_ray = place.executor == "ray"
    visible = (
        {} if by_ray else {VISIBLE.get(cluster.device.vendor, "CUDA_VISIBLE_DEVICES"): _listed(seat.gpus)}
    )
    num_gpus = len(seat.gpus) * place.nodes
    return Process(
        name=f"copy{replica}-node{seat.node_rank}",
        replica=replica,
        node=seat.node,
        node_rank=seat.node_rank,
        gpus=seat.gpus,
        ranks=tuple(range(num_gpus)) if by_ray else seat.ranks,
        environment={**visible, **said.environment},
        argv=said.argv,
        host=host,
        port=place.port,
    )


def _listed(gpus: tuple[int, ...]) -> str:
    return ",".join(map(str, gpus))


def _last_node(layout: Layout, world: Layout, cluster: Cluster) -> int:
    last = layout.num_gpus // world.num_gpus - 1
    return seats_of(last, world.num_gpus, cluster)[-1].node


def _name(model: str) -> str:
    """Letters, digits and dashes of the model's last part: as files and pods are named."""
    last = model.rstrip("/").rpartition("/")[2].lower()
    return re.sub("[^a-z0-9]+", "-", last).strip("-")[:40].strip("-") or "model"


def _check_host(host: str) -> None:
    if not HOST.fullmatch(host):
        raise InputError("--host", host, "an address or a name of this machine, such as 127.0.0.1 or 0.0.0.0")


def _check_port(listens: int, stated: int | None) -> None:
    if not 0 < listens <= LARGEST_PORT:
        raise InputError(
            "--port", stated, f"a port from 1 that leaves all copies of a node one up to {LARGEST_PORT}"
        )
