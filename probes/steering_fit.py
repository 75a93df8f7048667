"""The probes that are steered and what LEACE erases, token by token, with random directions beside."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes.asked import Asked, pieces
from probes.directions import Steering, Whitened
from probes.linear import total
from probes.methods.ridge import RIDGES, Linear, Spectrum, check_enough, choose, spread
from probes.steering_config import SteeringConfig
from probes.sums import Sums
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer


@dataclass(frozen=True, eq=False)
class Token:
    """Probes of one token, for every layer.

    Attributes:
        probe: Ridge probes.
        white: Coordinates of the stream.
        telling: Whitened directions that covary with the target.
        steering: How to make the probes say something else.
        decoded: R^2 on validation prompts.
    """

    probe: Linear
    white: Whitened
    telling: Float[Tensor, "layer width column"]
    steering: Steering
    decoded: Float[Tensor, " layer"]


def fit_tokens(
    model: Transformer, batch: RegressionBatch, truth: Tensor, asked: Asked, config: SteeringConfig
) -> list[Token]:
    """Probes and covariances of every token, in one pass; strengths as those of `mesascope probe`.

    Raises:
        InputError: If there are no more training samples than features, or streams are not finite.
    """
    train: list[list[Sums]] = [[] for _ in asked.positions]
    validation: list[list[Sums]] = [[] for _ in asked.positions]
    for piece in pieces(model, batch, [config.n_train]):
        held = train if piece.rows.start < config.n_train else validation
        streams = piece.at(asked.positions)
        for index, sums in enumerate(held):
            sums.append(Sums.of(streams[:, :, index], truth[piece.rows, index]))
    return [_token(total(one), total(other)) for one, other in zip(train, validation, strict=True)]


def _token(train: Sums, validation: Sums) -> Token:
    check_enough(train.n, train.gram.shape[-1])
    parts = [slice(0, train.cross.shape[-1])]
    found = Spectrum.of(train)
    probe = found.solution(spread(choose(found.validation_errors(validation, RIDGES), parts, RIDGES), parts))
    white = Whitened.of(found)
    errors = validation.errors(probe.weights, probe.intercepts).sum(-1)
    spreads = (validation.squares / validation.n - (validation.y / validation.n).square()).sum()
    return Token(probe, white, white.telling(), Steering.of(white, probe.weights), 1 - errors / spreads)


def maps_of(token: Token, draw: int, seed: int) -> tuple[Tensor, Tensor]:
    """How a token's stream is steered and what is erased from it, as the matrices that do it.

    Draw 0 is the real one; in the others all tokens are changed along the same random directions.
    """
    along, away = token.steering.directions, token.telling
    if draw:
        generator = torch.Generator().manual_seed(1_000_003 * seed + draw)
        along, away = (token.white.random(like, generator) for like in (along, away))
    return token.steering.map(token.white, along), token.white.eraser(away)
