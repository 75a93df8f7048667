"""Laws of tokens that follow each other, and drawing from rows of probabilities."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.tasks.character_counts import load_counts
from workbench.tasks.draws import numbered

SYNTHETIC = "synthetic"
_N_SYNTHETIC = 64


@dataclass(frozen=True, eq=False)
class Law:
    """How often tokens occur and what follows them.

    Attributes:
        unigram: Probability of each token.
        bigram: Row i: what follows token i.
        rank: Place of each token among all, 0 for the most frequent.
    """

    unigram: Float[Tensor, " token"]
    bigram: Float[Tensor, "token token"]
    rank: Int[Tensor, " token"]

    @property
    def n_tokens(self) -> int:
        """Size of the alphabet."""
        return len(self.unigram)

    def triggers(self, n: int) -> Bool[Tensor, " token"]:
        """True for the ``n`` most frequent tokens."""
        return self.rank < n


def law_of(counts: str, device: torch.device) -> Law:
    """The law of these counts, in float64: a name, a path to a .json file, or ``synthetic``.

    The synthetic law has 64 tokens whose rows are the softmax of standard normal logits; its unigram law is the
    stationary one.

    Raises:
        InputError: If there are no such counts.
    """
    place = str(device)
    return Law(_unigram(counts, place), _bigram(counts, place), _rank(counts, place))


# A compiler takes what these return for constants; it takes single tensors alone.


@torch.compiler.assume_constant_result
def _unigram(counts: str, device: str) -> Tensor:
    return _tensors(counts, device)[0]


@torch.compiler.assume_constant_result
def _bigram(counts: str, device: str) -> Tensor:
    return _tensors(counts, device)[1]


@torch.compiler.assume_constant_result
def _rank(counts: str, device: str) -> Tensor:
    return _tensors(counts, device)[2]


@cache
def _tensors(counts: str, device: str) -> tuple[Tensor, Tensor, Tensor]:
    unigram, bigram = _synthetic() if counts == SYNTHETIC else _counted(counts)
    rank = unigram.argsort(descending=True, stable=True).argsort()
    return unigram.to(device), bigram.to(device), rank.to(device)


def _counted(counts: str) -> tuple[Tensor, Tensor]:
    found = load_counts(counts)
    unigram = torch.tensor(found.unigram, dtype=torch.float64, device="cpu")
    bigram = torch.tensor(found.bigram, dtype=torch.float64, device="cpu")
    return unigram / unigram.sum(), bigram / bigram.sum(1, keepdim=True)


def _synthetic() -> tuple[Tensor, Tensor]:
    bigram = numbered(0, "synthetic law", 0, _N_SYNTHETIC, torch.device("cpu")).normal(_N_SYNTHETIC).double().softmax(1)
    return stationary(bigram), bigram


def stationary(rows: Float[Tensor, "*lead state state"]) -> Float[Tensor, "*lead state"]:
    """The law that a chain with these transition rows keeps, where there is one alone."""
    n = rows.shape[-1]
    eye = torch.eye(n, dtype=rows.dtype, device=rows.device)
    ones = torch.ones(n, 1, dtype=rows.dtype, device=rows.device)
    solved = torch.linalg.solve_ex(eye - rows.mT + 1.0, ones.expand(*rows.shape[:-2], n, 1))  # no check: it would wait
    return solved.result[..., 0]


def steps_of(rows: Float[Tensor, "*lead token"]) -> Float[Tensor, "*lead token"]:
    """Cumulative probabilities for ``choose``: what comes after the last possible token is exactly 1."""
    sums = rows.cumsum(-1)
    return sums / sums[..., -1:]


def choose(steps: Float[Tensor, "batch token"], uniform: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Tokens drawn from rows of ``steps_of`` by one uniform number in [0, 1) each; impossible ones never come."""
    return (uniform[:, None] >= steps).sum(-1)


def in_one_row(steps: Float[Tensor, "row token"]) -> Float[Tensor, " entry"]:
    """Rows of ``steps_of`` one after the other, row r from r to r + 1, so that one search serves all."""
    return (steps.double() + torch.arange(len(steps), device=steps.device)[:, None]).flatten()


def choose_from(
    entries: Float[Tensor, " entry"], n_tokens: int, rows: Int[Tensor, " batch"], uniform: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """``choose`` from the rows with these numbers, in few operations of the size of the batch.

    Args:
        entries: Of ``in_one_row``.
        n_tokens: Length of a row.
        rows: Row for each draw.
        uniform: A number in [0, 1) for each draw, in float64: row and number are added.
    """
    return torch.sub(torch.searchsorted(entries, rows + uniform, right=True), rows, alpha=n_tokens)


def follow(rows: Float[Tensor, "batch pos token"]) -> Float[Tensor, "batch pos token"]:
    """Log-probabilities in float64, -inf where something is impossible."""
    return rows.double().log()
