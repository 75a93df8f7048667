"""The normalisation module, with TransformerLens's two hook points."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.models.watching import watched

Stream = Float[Tensor, "*lead d_model"]
EPSILON = 1e-5


class Norm(nn.Module):
    """Divide by the root mean square, after taking out the mean if ``centred``; then gain and bias."""

    def __init__(self, d_model: int, *, centred: bool, bias: bool) -> None:
        super().__init__()
        self.centred = centred
        self.w = nn.Parameter(torch.ones(d_model))
        self.b = nn.Parameter(torch.zeros(d_model)) if centred and bias else None
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, stream: Stream) -> Stream:
        """The normalised stream; ``hook_scale`` sees the divisor, ``hook_normalized`` the result."""
        if not watched(self.hook_scale):
            return self.hook_normalized(self._fused(stream))
        centred = stream - stream.mean(-1, keepdim=True) if self.centred else stream
        scale = self.hook_scale((centred.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt())
        scaled = centred / scale * self.w
        return self.hook_normalized(scaled if self.b is None else scaled + self.b)

    def _fused(self, stream: Stream) -> Stream:
        shape = self.w.shape
        if self.centred:
            return F.layer_norm(stream, shape, self.w, self.b, EPSILON)
        return F.rms_norm(stream, shape, self.w, EPSILON)
