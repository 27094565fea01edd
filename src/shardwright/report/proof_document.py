"""A proof as a document: what was executed, how far it came from the unsharded model, what it says."""

from shardwright.plan.proof import FamilyProof, Proof
from shardwright.report.document import Bullets, Document, Heading, Paragraph, columns, table
from shardwright.report.trial import trial_words
from shardwright.report.words import MET, MISSED, counted
from shardwright.units import format_bytes, format_seconds

WHAT_IT_SAYS = (
    "Proved is that this split, as our runtime executes it on these checkpoints, gives the model's own "
    "answers. It says nothing of a serving engine, nor of speed."
)


def proof_document(proof: Proof) -> Document:
    """The whole report of one proof."""
    passed = sum(family.passed for family in proof.families)
    outcome = f"{passed} of {counted(len(proof.families), 'checkpoint')} pass"
    return (
        Heading(f"Proof: {proof.layout}", level=1),
        Paragraph(
            f"{'Layout proved' if proof.passed else 'NOT PROVED'}: {outcome}, {proof.mode}, "
            f"{format_seconds(proof.seconds)} (measured).",
            status=MET if proof.passed else MISSED,
        ),
        *_failures(proof),
        *_trial(proof),
        Heading("Beside the unsharded model"),
        *table(
            columns(
                ("checkpoint", "name"),
                ("logits differ", "number"),
                ("allowed", "number"),
                "greedy",
                "experts",
                "bytes",
                "weights",
                "KV",
            ),
            [_row(family) for family in proof.families],
        ),
        Paragraph(
            "Allowed is five times what the unsharded model differs from itself between one batch and its "
            "sequences run singly; in bf16 twice its distance from fp32. Bytes: every collective against the "
            "graph rebuilt with the routing that occurred."
        ),
        *_collectives(proof),
        Paragraph(WHAT_IT_SAYS),
    )


def _trial(proof: Proof) -> Document:
    """How it was executed, the same for all checkpoints."""
    family = proof.families[0]
    return (Paragraph(f"Executed in {family.dtype}, {trial_words(family.trial)}."),)


def _row(family: FamilyProof) -> tuple[str, ...]:
    flags = (
        family.greedy_equal,
        not family.strayed_sequences,
        family.bytes_equal,
        family.weights_equal,
        family.kv_equal,
    )
    return (
        family.checkpoint,
        f"{family.largest_difference:.1e}",
        f"{family.tolerance:.1e}",
        *("equal" if flag else "DIFFER" for flag in flags),
    )


def _failures(proof: Proof) -> Document:
    lines = tuple(
        f"{family.checkpoint}: {failure}" for family in proof.families for failure in family.failures
    )
    return (Bullets(lines),) if lines else ()


def _collectives(proof: Proof) -> Document:
    totals: dict[str, list[int]] = {}
    for family in proof.families:
        for row in family.collectives:
            total = totals.setdefault(row.name, [0, 0, 0])
            for place, amount in enumerate((row.count, row.recorded_bytes, row.graph_bytes)):
                total[place] += amount
    rows = [
        (name, f"{count:,}", format_bytes(recorded), format_bytes(graph))
        for name, (count, recorded, graph) in totals.items()
    ]
    heads = columns("collective", ("times", "number"), ("recorded", "number"), ("graph", "number"))
    return (Heading("Collectives, all ranks and checkpoints"), *table(heads, rows)) if rows else ()
