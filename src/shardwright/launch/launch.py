"""A launch: the processes that start a plan on an engine, node by node, and the files that say so."""

from shardwright.record import Count, CountOrZero, Record

LOOPBACK = "127.0.0.1"

SCHEMA_VERSION = 1


class Process(Record):
    """One command on one node: it starts those ranks of one copy of the layout that stand there.

    name: of letters, digits and dashes; names its files and pods. replica: which copy of the layout.
    node: of the cluster; node_rank: among the nodes of the copy. gpus: by the node's own numbers.
    ranks: of the copy, as the engine numbers them. environment: what is set beside what the node has.
    host, port: where its API listens; port None where another process of the copy answers.
    """

    name: str
    replica: CountOrZero
    node: CountOrZero
    node_rank: CountOrZero
    gpus: tuple[CountOrZero, ...]
    ranks: tuple[CountOrZero, ...]
    environment: dict[str, str]
    argv: tuple[str, ...]
    host: str
    port: Count | None


class LaunchFile(Record):
    """A file to write. path: relative to the folder of the launch."""

    path: str
    text: str
    executable: bool = False


class Launch(Record):
    """Everything that starts a plan.

    engine: its id; version: the one whose flags these are. nodes_per_copy: nodes that one copy spans.
    health: path that answers 200 once the server is ready. files: beside plan.json, scripts among them.
    notes: what to know before, in sentences.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    engine: str
    version: str
    layout: str
    num_gpus: Count
    num_nodes: Count
    copies: Count
    nodes_per_copy: Count
    processes: tuple[Process, ...]
    files: tuple[LaunchFile, ...]
    health: str
    notes: tuple[str, ...] = ()

    @property
    def runs_on(self) -> str:
        """'vllm 0.32.0': an id of a version has a version of its own behind an @."""
        return f"{self.engine.partition('@')[0]} {self.version}"
