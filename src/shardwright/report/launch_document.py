"""A launch as a document: where its processes stand, what is typed, what to know before."""

import shlex

from shardwright.audit.placing import ranges
from shardwright.launch.kubernetes.manifests import FOLDER
from shardwright.launch.launch import Launch, Process
from shardwright.report.document import Bullets, Code, Document, Heading, Item, Paragraph, columns, table

MOST_COMMANDS = 4
"""Processes whose command is shown; those of further copies differ in GPUs and ports alone."""


def launch_document(launch: Launch) -> Document:
    """Processes by node, the commands of the first ones, the files."""
    copies = f"{launch.copies} copies" if launch.copies > 1 else "one copy"
    nodes = f"{launch.num_nodes} nodes" if launch.num_nodes > 1 else "one node"
    spans = f", each over {launch.nodes_per_copy} nodes" if launch.nodes_per_copy > 1 else ""
    return (
        Heading(f"{launch.name} on {launch.runs_on}", level=1),
        Paragraph(f"{launch.layout}: {launch.num_gpus} GPUs of {nodes}, {copies}{spans}."),
        Heading("Processes"),
        *_processes(launch),
        *_commands(launch),
        *((Heading("Files"), Bullets(tuple(_file(file.path) for file in launch.files)))),
        *((Heading("Before it is started"), Bullets(launch.notes)) if launch.notes else ()),
    )


def _processes(launch: Launch) -> Document:
    """Where each stands. A pod stands where Kubernetes puts it, and has an address of its own."""
    if _in_pods(launch):
        heads = columns(("process", "name"), ("GPUs of its pod", "number"), "ranks")
        return table(
            heads, [(each.name, str(len(each.gpus)), ranges(sorted(each.ranks))) for each in launch.processes]
        )
    return table(
        columns(("process", "name"), ("node", "number"), "GPUs of the node", "ranks", ("API", "name")),
        [_row(process) for process in launch.processes],
    )


def _row(process: Process) -> tuple[str, ...]:
    api = f"{process.host}:{process.port}" if process.port is not None else ""
    gpus = ranges(sorted(process.gpus)) or "by Ray"
    return (process.name, str(process.node), gpus, ranges(sorted(process.ranks)), api)


def _in_pods(launch: Launch) -> bool:
    return any(file.path.startswith(MANIFESTS) for file in launch.files)


def _line(process: Process) -> str:
    settings = (f"{name}={shlex.quote(value)}" for name, value in process.environment.items())
    return " ".join((*settings, shlex.join(process.argv)))


def _commands(launch: Launch) -> Document:
    """What is typed on the nodes; pods are told by their manifests."""
    if _in_pods(launch):
        return (Heading("Command"), Code(f"kubectl apply -f {MANIFESTS}"))
    shown = (Code(f"# {process.name}\n{_line(process)}") for process in launch.processes[:MOST_COMMANDS])
    return (Heading("Commands"), *shown, *_more(launch))


def _more(launch: Launch) -> Document:
    left = len(launch.processes) - MOST_COMMANDS
    return (Paragraph(f"{left} more, in the files."),) if left > 0 else ()


MANIFESTS = f"{FOLDER}/"

FILES = (
    (MANIFESTS, "applied with the others of its folder"),
    ("start-", "starts the processes of its node, and stops them together"),
    ("ready-", "waits until the servers of its node answer"),
)


def _file(path: str) -> Item:
    says = next((text for prefix, text in FILES if path.startswith(prefix)), "read by the command")
    return Item(path, says)
