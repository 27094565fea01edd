"""How long a pod may take to start and to stop, from the plan and stated assumptions."""

import math

from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.model.weights import bytes_by_part
from shardwright.plan.plan import Plan
from shardwright.record import CountOrZero, Record

ROUTES_S = 10
"""Assumed: until every node has taken a pod that ends out of its Services."""

LONGEST_DRAIN_S = 600

AFTER_DRAIN_S = 30
"""For the engine itself to end, as Kubernetes' own default of terminationGracePeriodSeconds."""

GIB = 2**30

CACHE_ROOM = 1.2
"""A claimed volume over the weights: tokenizer, and another revision of the small files."""


class Times(Record):
    """start_s: until the API must answer; drain_s: from the end of new requests to that of the engine."""

    weight_bytes: float
    start_s: CountOrZero
    drain_s: CountOrZero

    @property
    def claim_gib(self) -> int:
        """Size of a volume that holds the model, GiB."""
        return math.ceil(self.weight_bytes * CACHE_ROOM / GIB)

    @property
    def grace_s(self) -> int:
        """From the word to stop to the kill."""
        return self.drain_s + AFTER_DRAIN_S


def times(plan: Plan, options: KubernetesOptions) -> Times:
    """A pod reads (or at its first start fetches) the whole model; a request ends as late as predicted."""
    weight_bytes = sum(bytes_by_part(plan.deployment.model).values())
    figures = plan.pools[0].figures
    request_s = figures.ttft_s.high + plan.deployment.workload.output_tokens * figures.tpot_s.high
    return Times(
        weight_bytes=weight_bytes,
        start_s=options.start_s + math.ceil(weight_bytes / options.read_bytes_per_s),
        drain_s=ROUTES_S + min(LONGEST_DRAIN_S, math.ceil(request_s)),
    )
