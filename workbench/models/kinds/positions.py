"""How a token knows where it stands."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.registry import by_name

PerHead = Float[Tensor, "batch pos head d_head"]
Distances = Int[Tensor, "query key"]


@dataclass(frozen=True)
class PositionKind:
    """One way to give positions to the model.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        table: Whether a learned vector per position is added to the embedding.
        one_hot: Whether a one-hot code of the position is concatenated to the input, before the read-in.
        rotate: Applied to queries and keys with the position ids, or None.
        slopes: From the number of heads to how much each lowers a score per position of distance, or None.
        buckets: From the distances query minus key, and whether keys come first always, to the number of a learned
            bias per head, or None. One table serves all layers.
        n_buckets: Rows of that table.
        lens_name: TransformerLens's ``positional_embedding_type``.
    """

    name: str
    label: str
    source: str
    table: bool = False
    one_hot: bool = False
    rotate: Callable[[PerHead, Int[Tensor, " pos"]], PerHead] | None = None
    slopes: Callable[[int], list[float]] | None = None
    buckets: Callable[[Distances, bool], Distances] | None = None
    n_buckets: int = 0
    lens_name: str = "standard"

    @property
    def adds_to_scores(self) -> bool:
        """Whether positions enter as something added to the scores."""
        return self.slopes is not None or self.buckets is not None


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


def alibi_slopes(n_heads: int) -> list[float]:
    """2^(-8h/n) for heads h = 1..n of a power of two; else those of the next lower one, then every other of the next.

    Source:
        Press et al. 2021, arXiv:2108.12409, section 3 and released code.
    """
    power = 2 ** (n_heads.bit_length() - 1)
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-8 * (head + 1) / (2 * power)) for head in range(0, 2 * power, 2)]
    return slopes + between[: n_heads - power]


T5_BUCKETS = 32
_T5_FURTHEST = 128


def t5_buckets(distances: Distances, causal: bool) -> Distances:
    """Short distances have a bucket each, longer ones share log-spaced buckets up to 128, all beyond the last one.

    A causal model has all 32 buckets for earlier keys; otherwise half of them are for later keys.

    Source:
        Raffel et al. 2020, arXiv:1910.10683, section 2.1 and released code.
    """
    n_buckets = T5_BUCKETS if causal else T5_BUCKETS // 2
    later = torch.zeros_like(distances) if causal else (distances < 0) * n_buckets
    distance = distances.clamp(min=0) if causal else distances.abs()
    n_exact = n_buckets // 2
    ratio = distance.clamp(min=1).double().div(n_exact).log() / math.log(_T5_FURTHEST / n_exact)
    shared = (n_exact + (ratio * (n_buckets - n_exact)).long()).clamp(max=n_buckets - 1)
    return later + torch.where(distance < n_exact, distance, shared)


POSITIONS = by_name(
    PositionKind("none", "None", "Kazemnejad et al. 2023, arXiv:2305.19466"),
    PositionKind("learned", "Learned, added", "Radford et al. 2019, GPT-2", table=True),
    PositionKind(
        name="concatenated",
        label="One-hot, concatenated to the input",
        source="von Oswald et al. 2023, arXiv:2212.07677, proposition 3; Reddy 2024, arXiv:2312.03002",
        one_hot=True,
    ),
    PositionKind(
        name="rotary",
        label="Rotary",
        source="Su et al. 2021, arXiv:2104.09864, equation 34",
        rotate=rotate,
        lens_name="rotary",
    ),
    PositionKind(
        name="alibi",
        label="ALiBi: scores fall with the distance, a slope per head",
        source="Press et al. 2021, arXiv:2108.12409",
        slopes=alibi_slopes,
        lens_name="alibi",
    ),
    PositionKind(
        name="t5",
        label="Learned bias per head and distance bucket, shared by all layers",
        source="Raffel et al. 2020, arXiv:1910.10683, section 2.1",
        buckets=t5_buckets,
        n_buckets=T5_BUCKETS,
        lens_name="relative_positional_bias",
    ),
)
