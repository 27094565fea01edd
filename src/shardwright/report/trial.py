"""How a layout was executed, in words."""

from shardwright.plan.proof import Trial
from shardwright.report.words import counted


def trial_words(trial: Trial) -> str:
    """Micro-batches, and the forms that are not the plain ones.

    >>> trial_words(Trial(micro_batches=2, near_ranks=4))
    '2 micro-batches, hierarchical sums, 4 neighbours first'
    """
    said = [counted(trial.micro_batches, "micro-batch")]
    if trial.near_ranks > 1:
        said.append(f"hierarchical sums, {trial.near_ranks} neighbours first")
    if trial.chunk_tokens is not None:
        said.append(f"prefill in pieces of at most {counted(trial.chunk_tokens, 'token')}")
    if trial.batched:
        said.append("exchanges of all micro-batches in one message a peer")
    return ", ".join(said)
