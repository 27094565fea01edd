"""The change of flags that pays most: the best layout of the same engine on the same GPUs, as a command."""

import shlex
from collections.abc import Sequence

from shardwright.audit.commands.record import Change, FlagChange
from shardwright.audit.commands.subject import CommandSubject
from shardwright.engine.commands.reading import MODEL
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.plan.plan import Figures, Plan, Pool
from shardwright.search.search import NoLayoutError, search
from shardwright.units import Estimate, format_rate, format_seconds

LAYOUT_SETTINGS = frozenset(
    (
        *(
            "tp",
            "pp",
            "dp",
            "ep",
            "expert_parallel",
            "attn_dp",
            "dp_attention",
            "replicas",
            "moe_dp",
            "moe_tp",
        ),
        *("attention_dp", "eplb", "redundant", "num_slots", "stage_layers", "nodes", "overlap"),
    )
)
"""Settings that make the layout: a new layout replaces all of them, and whether micro-batches overlap."""


def best_change(subject: CommandSubject, *, runs: bool) -> Change | str:
    """The best layout as a change of flags, or why there is none."""
    try:
        plan = search(subject.deployment, num_alternatives=0)
    except NoLayoutError as error:
        return str(error).splitlines()[0]
    pool = plan.pools[0]
    layout = parse_layout(pool.layout)
    words, num_commands = spelled(subject, layout)
    overlap = subject.engine.overlap
    if overlap is not None and pool.schedule.order == "overlapped":
        words += overlap.flags
    limit = raised_limit(subject, layout, pool)
    flags = flag_changes(subject, words, limit, num_commands)
    same = subject.layout == layout
    metric, gain = (None, None) if subject.layout is None or not runs else _gain(subject, plan)
    before = _environment(subject, words, limit)
    command = (*before, *subject.invocation.entry, *_kept(subject, words, limit), *words, *limit)
    return Change(
        layout=pool.layout,
        pool=pool.model_copy(update={"command": command}),
        flags=() if same else flags,
        command=shlex.join(command),
        num_commands=num_commands,
        metric=metric or "throughput",
        gain=gain,
        within_noise=gain is not None and gain.low <= 1,
        sentence=_sentence(subject, pool, gain, same=same),
    )


def spelled(subject: CommandSubject, layout: Layout) -> tuple[list[str], int]:
    """(the flags that make the layout, how many times the command is started)."""
    server = subject.server
    words = list(server.dialect.flags(layout))
    flag = server.copies_flag(layout, subject.model, subject.deployment.cluster)
    together = layout.copies if flag else 1
    if together > 1:
        words += [flag, str(together)]
    nodes = -(-layout.gpus_per_copy * together // subject.deployment.cluster.gpus_per_node)
    if nodes > 1 and (flag := _nodes_flag(subject)):
        words += [flag, str(nodes)]
    return words, layout.copies // together


def _nodes_flag(subject: CommandSubject) -> str:
    """The flag that counts nodes; '' where the server has none, or the command reaches them otherwise."""
    otherwise = {row.flag for row in subject.arguments.ignored} & set(subject.server.spans or ())
    names = [row.names[0] for row in subject.server.flags if row.sets == "nodes"]
    return names[0] if names and not otherwise else ""


def raised_limit(subject: CommandSubject, layout: Layout, pool: Pool) -> tuple[str, ...]:
    """The flag for as many sequences as the load puts on an attention rank, where the limit is below that."""
    if pool.sequences_per_rank <= subject.limits.max_sequences:
        return ()
    flag = next(row.names[0] for row in subject.server.flags if row.sets == "max_sequences")
    of_copy = layout.dp if subject.server.sequences_of == "copy" else 1
    return flag, str(pool.sequences_per_rank * of_copy)


def flag_changes(
    subject: CommandSubject, words: Sequence[str], limit: tuple[str, ...], num_commands: int
) -> tuple[FlagChange, ...]:
    """Theirs beside the new ones, flag by flag; only those that differ."""
    table, replaced = _table(subject), _replaced(subject, words, limit)
    now = {row.sets: (row.flag, row.value or "on") for row in subject.arguments.given if row.sets in replaced}
    then = {table.get(flag, flag): (flag, value) for flag, value in _pairs([*words, *limit])}
    rows = []
    for sets in dict.fromkeys((*now, *then)):
        flag = then.get(sets, now.get(sets, ("", "")))[0]
        old, new = now.get(sets, ("", ""))[1], then.get(sets, ("", ""))[1]
        if old != new and {old, new} != {"", "1"}:
            rows.append(FlagChange(flag=flag, now=old, then=new))
    if num_commands > 1:
        rows.append(FlagChange(flag="commands started", now="1", then=str(num_commands)))
    return tuple(rows)


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Flags with their values; 'on' for a switch."""
    pairs: list[tuple[str, str]] = []
    for word in words:
        if word.startswith(("-", "(")):
            pairs.append((word, "on"))
        else:
            pairs[-1] = (pairs[-1][0], word)
    return pairs


def _table(subject: CommandSubject) -> dict[str, str]:
    """Flag -> what it sets."""
    return {name: flag.sets for flag in subject.server.flags for name in flag.names}


def _replaced(subject: CommandSubject, words: Sequence[str], limit: tuple[str, ...]) -> set[str]:
    """Settings that the change decides: those of every layout, and whatever else it spells."""
    table = _table(subject)
    return {*LAYOUT_SETTINGS} | {table[word] for word in (*words, *limit) if word in table}


def _kept(subject: CommandSubject, words: Sequence[str], limit: tuple[str, ...]) -> tuple[str, ...]:
    """The words of the command that the new layout leaves as they stand: its model, its flags, its files.

    A file stays: what the change decides goes before it on the command line of vLLM and SGLang; where a
    file wins (TensorRT-LLM), or has a setting that the change leaves out, the list of changes names it.
    """
    replaced = _replaced(subject, words, limit) | {"model"}
    arguments = subject.arguments
    given = [row.words for row in arguments.given if row.sets not in replaced and not row.where]
    ignored = [row.words for row in arguments.ignored if not row.where]
    kept = [word for words_of in (*given, *ignored) for word in words_of]
    flag = next((row.flag for row in subject.arguments.given if row.sets == "model"), MODEL)
    named = (subject.model.name,) if flag == MODEL else (flag, subject.model.name)
    return (*named, *kept, *arguments.files)


def _environment(subject: CommandSubject, words: Sequence[str], limit: tuple[str, ...]) -> tuple[str, ...]:
    """What stands before the command: the variables that set what the change does not decide."""
    replaced = _replaced(subject, words, limit)
    rows = [row for row in subject.arguments.given if row.where == "environment" and row.sets not in replaced]
    return ("env", *(f"{row.flag}={row.value}" for row in rows)) if rows else ()


def _gain(subject: CommandSubject, plan: Plan) -> tuple[str, Estimate]:
    """(metric, new over old), the ends of the two intervals against each other."""
    by_latency = subject.deployment.objective == "latency"
    old, new = (_metric(pool.figures, by_latency) for pool in (subject.pool, plan.pools[0]))
    if by_latency:
        old, new = new, old
    ratio = Estimate(
        value=new.value / old.value,
        low=new.low / old.high,
        high=new.high / old.low,
        binds=new.binds,
        basis="the two intervals against each other: errors that both share cancel, so this is the widest",
    )
    return "TPOT" if by_latency else "throughput", ratio


def _metric(figures: Figures, by_latency: bool) -> Estimate:
    return figures.tpot_s if by_latency else figures.throughput_tokens_per_s


def _sentence(subject: CommandSubject, pool: Pool, gain: Estimate | None, *, same: bool) -> str:
    figures = pool.figures
    rate = format_rate(figures.throughput_tokens_per_s.value)
    new = f"{rate}, TPOT {format_seconds(figures.tpot_s.value)}"
    if same:
        return "The command already makes the best layout of this engine on these GPUs."
    if gain is None:
        return f"{pool.layout} runs on these GPUs: {new} predicted."
    if gain.value <= 1:
        return f"No layout is predicted to be better; a planner would take {pool.layout}, {new}."
    own = subject.pool.figures
    old = f"{format_rate(own.throughput_tokens_per_s.value)}, TPOT {format_seconds(own.tpot_s.value)}"
    noise = ": within the noise of the two predictions" if gain.low <= 1 else ""
    return (
        f"{pool.layout}, {new} instead of {old}: {gain.value:.2f} x ({gain.low:.2f}-{gain.high:.2f}){noise}."
    )
