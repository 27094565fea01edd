"""What a person says of the cluster that the pods run in; the rest follows from launch and plan."""

from typing import Annotated, Literal

from pydantic import Field

from shardwright.record import Count, Record, Stated

MAX_NAME = 40
"""Of 63: a LeaderWorkerSet's pods, stateful sets and their revisions append to the name."""

Label = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=MAX_NAME)]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Subdomain = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=20)]
QualifiedName = Annotated[
    str, Field(pattern=r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=253)
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", max_length=500)]
FolderPath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f:]*$", max_length=1000)]
EnvName = Annotated[str, Field(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=200)]


class KubernetesOptions(Record):
    """How the plan's engine runs in pods.

    name: of everything made; None: after the launch. image: None: the engine's own (images.py).
    host: the pods' interface that the API listens on; a Service and the probes reach pods by their address.
    service_port: of the Service; None: the pods'.
    cache: where the model's files are kept: in a volume that is claimed, in a folder of each node, or nowhere
    (`empty`: every start downloads). claim: a volume claim that exists; None: one is written, of the class
    `storage_class`. cache_path: where the pods see it; the hub's cache is there, and a model's folder can be.
    checkpoint: folder in the pods that our runtime reads; None: cache_path.
    token_secret: the Secret whose `token_key` is the hub's token.
    cpus, memory_gib: of a pod, asked and not limited; None: nothing is asked, the nodes are the plan's own.
    resources: what else a pod needs, as {"rdma/ib": "1"}. gpu_resource: None: the vendor's.
    read_bytes_per_s: assumed, at which a pod gets the weights; start_s: assumed, from weights to ready.
    """

    name: Label | None = None
    namespace: Namespace | None = None
    image: Image | None = None
    pull_secret: Subdomain | None = None
    host: Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+$", max_length=45)] = "0.0.0.0"
    service_port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    cache: Literal["claim", "host", "empty"] = "claim"
    claim: Subdomain | None = None
    storage_class: Subdomain | None = None
    cache_path: FolderPath = "/models"
    checkpoint: FolderPath | None = None
    host_path: FolderPath = "/var/lib/shardwright/models"
    token_secret: Subdomain | None = None
    token_key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)] = "token"
    shared_memory_gib: Count = 16
    cpus: Count | None = None
    memory_gib: Count | None = None
    gpu_resource: QualifiedName | None = None
    resources: dict[QualifiedName, Quantity] = Field(default_factory=dict)
    node_selector: dict[QualifiedName, LabelValue] = Field(default_factory=dict)
    exclusive_topology: QualifiedName | None = None
    """A node label: each copy over several nodes has a value of it to itself."""
    environment: dict[EnvName, str] = Field(default_factory=dict)
    read_bytes_per_s: Stated = 2e8
    start_s: Count = 900
