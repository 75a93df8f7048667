"""The linear map that everything is made of."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models import products_cpu


class Map(nn.Linear):
    """A linear map that computes in the precision of its own weight.

    So the maps inside blocks may be bfloat16 while norms, read-in, read-out and the residual stream, to which
    what a block says is added by promotion, stay float32. Its weights begin as ``initialise`` says, not by
    themselves: building a model leaves the global generator alone.
    """

    def reset_parameters(self) -> None:
        """Leave them as they are."""

    def forward(self, input: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead d_out"]:
        """The image, of the weight's type."""
        rows = input.to(self.weight.dtype)
        fast = products_cpu.can_map(rows, self.weight)
        return (products_cpu.linear if fast else F.linear)(rows, self.weight, self.bias)

    @property
    def bias_or_zero(self) -> Float[Tensor, " d_out"]:
        """The bias, zeros where there is none."""
        return self.bias if self.bias is not None else self.weight.new_zeros(self.out_features)


class FixedMap(nn.Module):
    """A linear map that is not learned.

    Attributes:
        weight: Its matrix.
        bias: None.
    """

    weight: Float[Tensor, "d_out d_in"]

    def __init__(self, weight: Float[Tensor, "d_out d_in"]) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.out_features, self.bias = weight.shape[0], None

    def forward(self, input: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead d_out"]:
        """The image, of the weight's type."""
        return F.linear(input.to(self.weight.dtype), self.weight)

    @property
    def bias_or_zero(self) -> Float[Tensor, " d_out"]:
        """Zeros."""
        return self.weight.new_zeros(self.out_features)


def linear(d_in: int, d_out: int, *, bias: bool = True) -> Map:
    """An uninitialised map."""
    return Map(d_in, d_out, bias=bias)


def table(n_rows: int, width: int) -> nn.Embedding:
    """An uninitialised table of vectors."""
    return nn.Embedding.from_pretrained(torch.empty(n_rows, width), freeze=False)
