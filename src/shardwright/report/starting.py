"""How the copies of a layout are started: the commands to copy, and what to know before."""

import shlex

from shardwright.audit.placing import gpus_of
from shardwright.cluster.cluster import Cluster
from shardwright.cluster.topology import first_gpu
from shardwright.engine.start import HEAD_ADDRESS, Place
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Pool
from shardwright.report.document import Code, Document, Paragraph
from shardwright.search.engine import engine_of, starter_of
from shardwright.search.start import cannot_span, nodes_of, spoken_by_starter, world_of

MOST_PLACES = 4
"""Copies whose GPUs are listed; the others follow the same rule."""


def starting(deployment: Deployment, pool: Pool) -> Document:
    """One command line for each node of a copy, and where the copies go."""
    layout, cluster = parse_layout(pool.layout), deployment.cluster
    engine = starter_of(deployment, layout)
    if not pool.command:
        return (
            Paragraph(
                f"No command: {engine.title} {engine.version} starts {pool.layout} by no single command line "
                "that Shardwright writes; `shardwright launch` writes the files, where the engine can run it."
            ),
        )
    nodes = nodes_of(world_of(engine, layout), cluster)
    unable = cannot_span(engine, layout, cluster)
    lines = [shlex.join(pool.command)]
    by_mpi = engine.launcher is not None and engine.launcher.world == "mpi"
    if nodes > 1 and not unable:
        ranks = range(1 if by_mpi else nodes)
        lines = [_on_node(deployment, layout, pool, nodes, rank) for rank in ranks]
    notes = _notes(layout, cluster, len(lines), unable)
    if nodes > 1 and not unable and by_mpi:
        notes.insert(0, _one_world(layout.gpus_per_copy, nodes))
    priced = engine_of(deployment)
    if engine.id != priced.id:
        whose = (
            f"This is the command of {engine.title} {engine.version}, the first server that runs the layout"
        )
        notes.insert(0, f"{whose}; the prediction is for {priced.title} {priced.version}.")
    return (Code("\n".join(lines)), *map(Paragraph, notes))


def _on_node(deployment: Deployment, layout: Layout, pool: Pool, nodes: int, rank: int) -> str:
    place = Place(nodes=nodes, node_rank=rank, head=HEAD_ADDRESS)
    said = spoken_by_starter(deployment, layout, pool.schedule, pool.sequences_per_rank, place)
    assert said is not None
    return shlex.join(said.line)


def _notes(layout: Layout, cluster: Cluster, num_lines: int, unable: str) -> list[str]:
    notes = []
    if num_lines > 1:
        notes.append(f"One line a node, in order; {HEAD_ADDRESS} is the address of the first of them.")
    if unable:
        notes.append(f"{unable[:1].upper()}{unable[1:]}: this line is for a machine that holds them all.")
    if layout.copies > 1:
        notes.append(_copies(layout, cluster))
    return notes


def _one_world(num_ranks: int, nodes: int) -> str:
    return (
        f"All {num_ranks} ranks of a copy run this command as one MPI world, {num_ranks // nodes} on each of "
        f"{nodes} nodes: by srun or mpirun, as `shardwright launch` writes it."
    )


def _copies(layout: Layout, cluster: Cluster) -> str:
    size = layout.gpus_per_copy
    places = [
        f"copy {copy} on {gpus_of(range(start, start + size))}"
        for copy in range(min(layout.copies, MOST_PLACES))
        for start in [first_gpu(copy, size, cluster.gpus_per_node, cluster.nodes_per_domain)]
    ]
    more = ", and so on" if layout.copies > MOST_PLACES else ""
    return (
        f"This starts one copy of {layout.copies}; start each on its own GPUs and port, and spread the "
        f"requests over them: {'; '.join(places)}{more} (GPUs counted over the cluster, "
        f"{cluster.gpus_per_node} a node)."
    )
