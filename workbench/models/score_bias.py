"""What positions add to the scores of every layer."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.models.config import TransformerConfig
from workbench.models.kinds import POSITIONS


class ScoreBias(nn.Module):
    """A bias per head and pair of positions: fixed slopes, or a learned table of distance buckets."""

    fixed: Tensor
    bucket: Tensor

    def __init__(self, config: TransformerConfig, positions: Int[Tensor, " pos"]) -> None:
        super().__init__()
        kind = POSITIONS[config.positions]
        distances = positions[:, None] - positions[None, :]
        self.is_learned = kind.buckets is not None
        if kind.buckets is not None:
            self.weight = nn.Parameter(torch.empty(kind.n_buckets, config.n_heads))
            self.register_buffer("bucket", kind.buckets(distances, config.causal), persistent=False)
        elif kind.slopes is not None:
            slopes = torch.tensor(kind.slopes(config.n_heads))
            self.register_buffer("fixed", -slopes[:, None, None] * distances.abs(), persistent=False)

    def forward(self, at: slice | Int[Tensor, " pos"]) -> Float[Tensor, "head query key"]:
        """The bias among the tokens at these places of a plain sequence."""
        if not self.is_learned:
            return self.fixed[:, at][:, :, at]
        return rearrange(self.weight[self.bucket[at][:, at]], "query key head -> head query key")
