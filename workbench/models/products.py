"""The maps of attention whose products are learned as one matrix each."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.config import TransformerConfig
from workbench.models.kinds import LAYOUTS, PRODUCTS
from workbench.models.maps import FixedMap


class MergedMaps(nn.Module):
    """Queries, keys and values of heads as wide as the stream: queries are the stream, keys and values are learned.

    So a key's score is the stream of its position times KQ times that of the query, and OV is the value map. Of complex
    heads f = sum_z V z (K z)^* q is learned: the real part of (K z)^* q is the score of one head, whose key is K z and
    whose value V z, the imaginary part that of the next, with i K z and i V z.

    Attributes:
        keys: KQ of all heads, one under the other, of the stream or, where keys see the input alone, of that.
        values: OV of all heads in the same way, transposed; None where inputs stay as they are.
    """

    frame: Tensor
    fixed_values: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        kind, layout = PRODUCTS[config.products], LAYOUTS[config.layout]
        self.d_model, self.n_heads = config.d_model, config.n_heads
        self.d_read = layout.n_inputs * (config.d_input or 0) if kind.reads_inputs else config.d_model
        self.of_complex = kind.of_complex
        n_rows = self.n_heads * self.d_read
        shape = (n_rows // 4 if kind.of_complex else n_rows, self.d_read)
        self.keys = nn.Parameter(torch.empty(shape))
        self.values = nn.Parameter(torch.empty(shape)) if kind.moves_inputs else None
        labels = torch.zeros(config.d_model)
        if kind.reads_inputs:
            labels[self.d_read : self.d_read + (config.d_output or 1)] = 1.0
        self.register_buffer("frame", torch.eye(config.d_model), persistent=False)
        self.register_buffer("fixed_values", labels.diag(), persistent=False)

    @property
    def out_features(self) -> int:
        """Numbers per position: query, key and value of all heads."""
        return 3 * self.n_heads * self.d_model

    @property
    def weight(self) -> Float[Tensor, "three_heads_d_model d_model"]:
        """All three maps as one."""
        queries = self.frame.repeat(self.n_heads, 1)
        values = self.fixed_values.repeat(self.n_heads, 1)
        if self.values is not None:
            values = values + self._in_stream(self.values)
        return torch.cat([queries, self._in_stream(self.keys), values])

    def _in_stream(self, learned: Float[Tensor, "rows d_read"]) -> Float[Tensor, "heads_d_model d_model"]:
        if self.of_complex:
            return _both_parts(learned, self.d_model)
        rest = self.d_model - self.d_read
        return F.pad(learned.unflatten(0, (self.n_heads, self.d_read)), (0, rest, 0, rest)).flatten(0, 1)

    def forward(self, input: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead three_heads_d_model"]:
        """Queries, keys and values."""
        weight = self.weight
        return F.linear(input.to(weight.dtype), weight)

    @property
    def bias_or_zero(self) -> Float[Tensor, " three_heads_d_model"]:
        """Zeros: there are no biases."""
        return self.keys.new_zeros(self.out_features)


def _both_parts(learned: Float[Tensor, "rows d_model"], d_model: int) -> Float[Tensor, "heads_d_model d_model"]:
    """The real maps of complex ones and of i times them, head by head.

    A learned row gives the real part of a coordinate, row . z with z's real and imaginary parts in turn.
    """
    real = learned.unflatten(0, (-1, d_model // 2))
    imaginary = _turned(real)
    maps = torch.stack([real, imaginary], 2).flatten(1, 2)
    times_i = torch.stack([-imaginary, real], 2).flatten(1, 2)
    return torch.stack([maps, times_i], 1).flatten(0, 2)


def _turned(rows: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
    """(a, b) as (-b, a), pair by pair."""
    pairs = rows.unflatten(-1, (-1, 2))
    return torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)


def written_as_it_is(config: TransformerConfig) -> FixedMap:
    """The output map of such heads: the sum of what they give."""
    return FixedMap(torch.eye(config.d_model).repeat(1, config.n_heads))
