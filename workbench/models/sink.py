"""The learned sink of an attention layer."""

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.models.config import TransformerConfig
from workbench.models.kinds import SINKS

Queries = Float[Tensor, "batch query head d_head"]
Scores = Float[Tensor, "batch head query keys"]


class Sink(nn.Module):
    """One more key per head, without position, that every query sees.

    ``hook_share`` sees the weight ``[batch head query]`` on a sink that has a value.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.has_value = SINKS[config.sink].has_value
        if self.has_value:
            self.key = nn.Parameter(torch.empty(config.n_heads, config.head_width))
            self.value = nn.Parameter(torch.empty(config.n_heads, config.head_width))
            self.hook_share = HookPoint()
        else:
            self.logit = nn.Parameter(torch.empty(config.n_heads))

    def join(
        self, q: Queries, scale: float, scores: Scores, visible: Bool[Tensor, "query keys"]
    ) -> tuple[Float[Tensor, "batch head query joined"], Bool[Tensor, "query joined"]]:
        """Scores and visibility with the sink as the last key."""
        if self.has_value:
            own = einsum(q, self.key.to(q.dtype), "batch query head d_head, head d_head -> batch head query") * scale
        else:
            own = self.logit.to(q.dtype)[:, None].expand(scores.shape[:-1])
        return torch.cat([scores, own[..., None]], -1), F.pad(visible, (0, 1), value=True)

    def add(self, share: Float[Tensor, "batch head query"], z: Queries) -> Queries:
        """``z`` with the sink's value in it, as far as there is one."""
        if not self.has_value:
            return z
        value = self.value.to(z.dtype)
        return z + einsum(self.hook_share(share), value, "batch head query, head d_head -> batch query head d_head")
