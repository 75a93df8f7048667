"""How a token knows where it stands."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.registry import by_name

PerHead = Float[Tensor, "batch pos head d_head"]


@dataclass(frozen=True)
class PositionKind:
    """One way to give positions to the model.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        table: Whether a learned vector per position is added to the embedding.
        rotate: Applied to queries and keys with the position ids, or None.
    """

    name: str
    label: str
    source: str
    table: bool = False
    rotate: Callable[[PerHead, Int[Tensor, " pos"]], PerHead] | None = None


def rotate(vectors: PerHead, positions: Int[Tensor, " pos"], base: float = 10_000.0) -> PerHead:
    """Turn each pair (i, i + d_head/2) of coordinates by the position times base^(-2i/d_head)."""
    half = vectors.shape[-1] // 2
    precision = torch.promote_types(vectors.dtype, torch.float32)  # bfloat16 cannot even count to 300
    exponent = torch.arange(half, device=vectors.device, dtype=precision) / half
    angle = positions.to(precision)[:, None, None] * base**-exponent
    cos, sin = angle.cos().to(vectors.dtype), angle.sin().to(vectors.dtype)
    first, second = vectors[..., :half], vectors[..., half : 2 * half]
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat([*turned, vectors[..., 2 * half :]], -1)


POSITIONS = by_name(
    PositionKind("none", "None", "Kazemnejad et al. 2023, arXiv:2305.19466"),
    PositionKind("learned", "Learned", "Radford et al. 2019, GPT-2", table=True),
    PositionKind("rotary", "Rotary", "Su et al. 2021, arXiv:2104.09864, equation 34", rotate=rotate),
)
