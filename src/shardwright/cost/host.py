"""What an engine's host adds to the time of its devices, and what the devices take in a running engine."""

from typing import NamedTuple


class Host(NamedTuple):
    """Seconds beside the devices' time, and that as shares of what their operators take alone.

    step_s, sequence_s: a step, and each sequence in it. least_s: of a step that the host prepares while the
    devices run the one before, which counts where theirs is shorter. prefill_s: a step with prompts more.
    least_prefill_s: below which none ends, for it is launched kernel by kernel. api_s, api_token_s: before
    the scheduler sees a request, and each token of its prompt. decode, prefill: shares, of steps without and
    with prompts.
    """

    step_s: float = 0.0
    least_s: float = 0.0
    sequence_s: float = 0.0
    prefill_s: float = 0.0
    least_prefill_s: float = 0.0
    api_s: float = 0.0
    api_token_s: float = 0.0
    decode: float = 1.0
    prefill: float = 1.0
