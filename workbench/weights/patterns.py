"""How far products have the patterns that theory gives them, beside random weights of equal norm."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.models.transformer import Transformer
from workbench.registry import by_name
from workbench.weights.products import Products, products

Scores = Float[Tensor, "layer head"] | Float[Tensor, " layer"]


@dataclass(frozen=True)
class PatternKind:
    """One pattern.

    Attributes:
        name: Registry name.
        label: Name for people.
        sentence: What is measured, with range and what a perfect pattern has.
        perfect: The score of a perfect pattern.
        source: Who describes it.
        score: From products to a score per layer and head, or per layer.
    """

    name: str
    label: str
    sentence: str
    perfect: float
    source: str
    score: Callable[[Products], Scores]


@dataclass(frozen=True, eq=False)
class Pattern:
    """A pattern's scores, and those of random weights.

    Attributes:
        kind: Which pattern.
        scores: Of the model.
        null_mean: Mean over models with Gaussian attention weights of the same norms, head by head.
        null_low: Their 2.5% quantile.
        null_high: Their 97.5% quantile.
    """

    kind: PatternKind
    scores: Scores
    null_mean: Scores
    null_low: Scores
    null_high: Scores


def identity_share(found: Products) -> Scores:
    """tr(M)^2 / (d |M|^2) of KQ among the inputs: the squared cosine with I."""
    m = found.key_query[..., : found.d_input, : found.d_input]
    trace = m.diagonal(dim1=-2, dim2=-1).sum(-1)
    return _over(trace.square(), found.d_input * m.square().sum((-2, -1)))


def diagonal_share(found: Products) -> Scores:
    """|diag M|^2 / |M|^2 of KQ among the inputs."""
    m = found.key_query[..., : found.d_input, : found.d_input]
    return _over(m.diagonal(dim1=-2, dim2=-1).square().sum(-1), m.square().sum((-2, -1)))


def among_inputs(found: Products) -> Scores:
    """|KQ[x, x]|^2 / |KQ[:, x]|^2: the share of the scores that comes from inputs and not from labels."""
    d = found.d_input
    return _over(found.key_query[..., :d, :d].square().sum((-2, -1)), found.key_query[..., :d].square().sum((-2, -1)))


def last_entry_share(found: Products) -> Scores:
    """read[y]^2 / |read|^2: the share of what is read that comes from labels."""
    return _over(found.read[..., found.d_input :].square().sum(-1), found.read.square().sum(-1))


def zero_sum(found: Products) -> Scores:
    """|sum_h mu_h| / sum_h |mu_h| with mu_h = read_h[y]: 0 where heads of opposite signs cancel, 1 where all agree."""
    mu = found.read[..., found.d_input]
    return _over(mu.sum(-1).abs(), mu.abs().sum(-1))


def equal_sizes(found: Products) -> Scores:
    """Spread of |tr KQ_h| over heads, standard deviation over mean: 0 where all heads look equally sharply."""
    size = found.key_query[..., : found.d_input, : found.d_input].diagonal(dim1=-2, dim2=-1).sum(-1).abs()
    return _over(size.std(-1, correction=0), size.mean(-1))


def _over(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), torch.nan)


_HE = "He et al. 2025, arXiv:2503.12734"
PATTERNS = by_name(
    PatternKind(
        "identity",
        "KQ a multiple of I",
        "squared cosine of KQ among the inputs with I, 0 to 1",
        1.0,
        f"{_HE}, homogeneous diagonal; Ahn et al. 2023, arXiv:2306.00297",
        identity_share,
    ),
    PatternKind("diagonal", "KQ diagonal", "share of KQ's square on the diagonal, 0 to 1", 1.0, _HE, diagonal_share),
    PatternKind(
        "inputs", "Keys are inputs", "share of KQ's square from inputs and not labels, 0 to 1", 1.0, _HE, among_inputs
    ),
    PatternKind(
        "last_entry",
        "Values are labels",
        "share of the read-out's square from labels, 0 to 1",
        1.0,
        f"{_HE}, last entry only",
        last_entry_share,
    ),
    PatternKind(
        "zero_sum", "Heads cancel", "|sum mu| over sum |mu| of the heads' label weights, 0 to 1", 0.0, _HE, zero_sum
    ),
    PatternKind(
        "equal_sizes", "Heads equally sharp", "spread of |tr KQ| over heads, over its mean", 0.0, _HE, equal_sizes
    ),
)
_OVER_HEADS = ("zero_sum", "equal_sizes")


@torch.no_grad()
def patterns(model: Transformer, n_draws: int = 200, seed: int = 0) -> list[Pattern]:
    """All patterns of a model, those over heads only where there are several.

    Args:
        model: A model whose weights can be folded.
        n_draws: Models with random attention weights.
        seed: Seeds them.

    Raises:
        InputError: As `products`.
    """
    found = products(model)
    generator = torch.Generator().manual_seed(seed)
    drawn = [random_products(model, found, generator) for _ in range(n_draws)]
    several = model.config.n_heads > 1
    kinds = [kind for name, kind in PATTERNS.items() if several or name not in _OVER_HEADS]
    return [_scored(kind, found, drawn) for kind in kinds]


def _scored(kind: PatternKind, found: Products, drawn: list[Products]) -> Pattern:
    null = torch.stack([kind.score(each) for each in drawn])
    low, high = null.nanquantile(torch.tensor([0.025, 0.975], dtype=null.dtype), dim=0)
    return Pattern(kind, kind.score(found), null.nanmean(0), low, high)


def random_products(model: Transformer, found: Products, generator: torch.Generator) -> Products:
    """Products with Gaussian attention weights, each matrix with the norm that it has in the model."""
    read_in = model.embed.weight.detach().double().mT  # type: ignore[union-attr]
    read_out = model.unembed.weight.detach().double()[0]

    def like(name: str) -> Tensor:
        real = torch.stack([getattr(block.attn, name).detach().double() for block in model.layers])
        noise = torch.randn(real.shape, generator=generator, dtype=real.dtype)
        sizes = [m.flatten(-2).norm(dim=-1)[..., None, None] for m in (real, noise)]
        return noise * sizes[0] / sizes[1]

    w_q, w_k, w_v, w_o = map(like, ("W_Q", "W_K", "W_V", "W_O"))
    key_query = model.layers[0].attn.scale * einsum(
        *(read_in @ w_k, read_in @ w_q), "layer head key d_head, layer head query d_head -> layer head key query"
    )
    return replace(found, key_query=key_query, read=read_in @ w_v @ w_o @ read_out)
