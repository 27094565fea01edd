"""A measured case, ready to be simulated: its server without a host, and what its clients asked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from shardwright.calibrate.measured.case import Case
from shardwright.calibrate.measured.refusal import Refusal
from shardwright.cost.host import Host
from shardwright.cost.house import batching_of
from shardwright.cost.price import wires_of
from shardwright.errors import InputError
from shardwright.layout.stages import stage_counts
from shardwright.serving.outcome import Outcome, outcome_of
from shardwright.serving.requests import Lengths, Requests, closed_loop, open_loop, static_batch
from shardwright.serving.server import Server, build_server
from shardwright.serving.simulate import simulate
from shardwright.serving.times import StepTimes, step_times
from shardwright.steps.forms import Forms
from shardwright.workload.routing import RoutingProfile

MOST_REQUESTS = 4096
"""Of a saturated run, on each copy: its throughput is steady long before."""

OPEN_REQUESTS = 500
"""Where a source with a rate does not say how many."""

Reach = tuple[int, int, int]
"""Of tables: tokens and sequences of a step, tokens of a context."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """server: on which no host costs anything yet."""

    case: Case
    server: Server
    requests: Requests

    @property
    def is_whole(self) -> bool:
        """Whether all requests of the run are simulated: else its time to the first token is not its own."""
        return self.case.kind != "offline" or len(self.requests.length) == self.case.num_requests


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the clients of one run saw, predicted. tpot_s: None where answers have one token."""

    ttft_s: float
    tpot_s: float | None
    output_tokens_per_s: float
    e2e_s: float


def benches(cases: Iterable[Case]) -> list[Bench | Refusal]:
    """Each case made ready; a Refusal where its GPUs have no room for a request."""
    return list(each_bench(cases))


def each_bench(cases: Iterable[Case]) -> Iterator[Bench | Refusal]:
    """`benches`, one as soon as it is ready. A layout's tables are made once, for its longest request."""
    each = [(case, _site(case)) for case in cases]
    reaches: dict[object, Reach] = {}
    for case, site in each:
        reaches[site] = _farther(reaches.get(site, (1, 1, 1)), _reach(case))
    tables: dict[object, StepTimes] = {}
    for case, site in each:
        yield _bench(case, site, reaches[site], tables)


def run_bench(bench: Bench, host: Host) -> Seen:
    """What its clients see with this host."""
    return seen_of(bench, bench_outcome(bench, host))


def bench_outcome(bench: Bench, host: Host) -> Outcome:
    """What becomes of its requests with this host."""
    return outcome_of(simulate(replace(bench.server, host=host), bench.requests))


def seen_of(bench: Bench, outcome: Outcome) -> Seen:
    """Of an outcome, the figures that the row states."""
    ttft, tpot = outcome.ttft_s, outcome.tpot_s
    return Seen(
        ttft_s=ttft.p50 if bench.case.by_median else ttft.mean,
        tpot_s=None if tpot is None else tpot.p50 if bench.case.by_median else tpot.mean,
        output_tokens_per_s=outcome.output_tokens_per_s,
        e2e_s=outcome.duration_s if bench.case.kind == "static" else outcome.e2e_s.mean,
    )


def _bench(case: Case, site: object, reach: Reach, tables: dict[object, StepTimes]) -> Bench | Refusal:
    layers = stage_counts(case.layout, case.model.num_layers, case.engine.stages)
    if site not in tables:
        tables[site] = _tables(case, layers, reach)
    try:
        server = build_server(
            case.model,
            case.engine,
            case.cluster,
            case.layout,
            layers,
            host=Host(),
            length=round(case.mean_input_tokens + case.mean_output_tokens),
            longest=_longest(case),
            times=tables[site],
            poll_steps=case.poll_steps,
            gather_steps=case.gather_steps,
        )
    except InputError as error:
        return Refusal(case.row, "kv", f"{error}.")
    return Bench(
        case=case,
        server=server,
        requests=_requests(case),
    )


def _longest(case: Case) -> int:
    return case.input_tokens[1] + case.output_tokens[1]


def _site(case: Case) -> object:
    """What the tables depend on, but for their reach."""
    engine = case.engine
    model, cluster = case.model.model_dump_json(exclude={"name"}), case.cluster.model_dump_json()
    return model, cluster, engine.id, engine.exchange, case.layout, case.profile is not None


def _reach(case: Case) -> Reach:
    """As far as the case needs, or farther. By powers of two, short tables have the points of long ones."""
    longest, device = _longest(case), case.cluster.device
    most_tokens = batching_of(case.engine, device, longest).most_tokens
    sizes = (most_tokens, case.engine.memory.limits_on(device).max_sequences, longest)
    tokens, sequences, context = (1 << (size - 1).bit_length() for size in sizes)
    return tokens, sequences, context


def _farther(one: Reach, other: Reach) -> Reach:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2])


def _tables(case: Case, layers: tuple[int, ...], reach: Reach) -> StepTimes:
    return step_times(
        case.model,
        case.layout,
        layers,
        wires_of(case.engine, case.cluster, case.layout, case.profile),
        Forms(exchange=case.engine.exchange),
        RoutingProfile(),
        most_tokens=reach[0],
        most_sequences=reach[1],
        longest=reach[2],
    )


def _requests(case: Case) -> Requests:
    prompt, answer = (Lengths(low=low, high=high) for low, high in (case.input_tokens, case.output_tokens))
    match case.kind:
        case "closed":
            assert case.concurrency is not None
            return closed_loop(case.concurrency, prompt, answer, num_requests=case.num_requests)
        case "static":
            assert case.concurrency is not None
            return static_batch(case.concurrency, prompt, answer)
        case "open":
            assert case.request_rate_per_s is not None
            count = case.num_requests or OPEN_REQUESTS
            return open_loop(case.request_rate_per_s, prompt, answer, num_requests=count)
    count = min(case.num_requests or MOST_REQUESTS, MOST_REQUESTS * case.layout.copies)
    return static_batch(count, prompt, answer)
