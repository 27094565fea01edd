"""RMSNorm over a projection that several ranks share: the sum of squares comes from all of them.

OLMoE normalises q and k over their whole width (transformers 5.23, OlmoeAttention); a rank of a TP group
has a slice of it. The rank program sums the squares over the group before attention (qk_norm_sum).
"""

import torch
from torch import Tensor, nn


class SummedRmsNorm(nn.Module):
    """weight: [local width]. `squares`: [..., 1] fp32, the sum over the whole projection, set before a call.

    full_width: elements that were summed; replicated KV heads count as often as they are held.
    """

    def __init__(self, local_width: int, full_width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(local_width, device="meta"), requires_grad=False)
        self.full_width, self.epsilon = full_width, epsilon
        self.squares: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the local slice [..., local width] by the global sum of squares."""
        assert self.squares is not None, "the sum of squares comes first"
        scale = torch.rsqrt(self.squares / self.full_width + self.epsilon)
        return self.weight * (x.float() * scale).to(x.dtype)
