"""Runs of a model from changed streams: what is put in or taken out, and what is predicted then."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from probes.asked import Asked, Piece, answer, pieces, targets_at
from probes.record import ProbeTarget
from probes.steering_config import SteeringConfig
from probes.steering_fit import Token, fit_tokens, maps_of
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer
from workbench.tasks import Task


@dataclass(frozen=True, eq=False)
class Study:
    """What is the same for all layers and sets of tokens of one target at one number of examples.

    Attributes:
        model: The model.
        config: Settings.
        target: What is decoded.
        asked: The tokens of a prompt.
        tokens: Probes of every token.
        test: Prompts that the model is changed on.
        truth: What every token has to hold.
        others: What is put in: targets of other prompts.
        is_weights: Whether the target has as many numbers as x.
        run: The prompts as they are.
        before: Predictions for them.
        said: What probes decode from them.
    """

    model: Transformer
    config: SteeringConfig
    target: str
    asked: Asked
    tokens: list[Token]
    test: RegressionBatch
    truth: Float[Tensor, "prompt pos column"]
    others: Float[Tensor, "other prompt column"]
    is_weights: bool
    run: list[Piece]
    before: Float[Tensor, " prompt"]
    said: Float[Tensor, "layer pos prompt column"]


def prepare(
    model: Transformer,
    task: Task,
    config: SteeringConfig,
    target: ProbeTarget,
    prompts: tuple[RegressionBatch, RegressionBatch],
) -> Study:
    """Probes of every token fitted on the first prompts, and runs of the second as they are.

    Raises:
        InputError: As `targets_at` and `fit_tokens`.
    """
    fit, test = prompts
    asked = Asked.of(model, fit.n_context - 1)
    fit_truth, truth = (targets_at(batch, task, target, asked) for batch in prompts)
    tokens, run = fit_tokens(model, fit, fit_truth, asked, config), list(pieces(model, test))
    return Study(
        model=model,
        config=config,
        target=target.name,
        asked=asked,
        tokens=tokens,
        test=test,
        truth=truth,
        others=torch.stack([truth[:, -1].roll(1 + other, 0) for other in range(config.n_others)]),
        is_weights=truth.shape[-1] == fit.xs.shape[2],
        run=run,
        before=torch.cat([answer(model, piece, 0) for piece in run]),
        said=torch.cat([_said(tokens, piece.at(asked.positions)) for piece in run], 2),
    )


def _said(tokens: list[Token], streams: Float[Tensor, "layer batch pos d_model"]) -> Tensor:
    return torch.stack([token.probe(streams[:, :, index]) for index, token in enumerate(tokens)], 1)


@dataclass(frozen=True, eq=False)
class Maps:
    """How streams are changed, the first draw along the real directions.

    Attributes:
        moves: From the wanted change of what is decoded to the move of the stream.
        erasers: From the centred stream to what is taken away.
    """

    moves: Float[Tensor, "draw layer place width column"]
    erasers: Float[Tensor, "draw layer place width width"]


def maps_at(study: Study, places: list[int], n_draws: int) -> Maps:
    """How the tokens at some places are changed.

    Args:
        study: The probes.
        places: Tokens, counted from the first that has seen an example.
        n_draws: Draws of random directions behind the real ones.
    """
    moves: list[Tensor] = []
    erasers: list[Tensor] = []
    for draw in range(1 + n_draws):
        at_places = [maps_of(study.tokens[place], draw, study.config.seed) for place in places]
        moves.append(torch.stack([move for move, _ in at_places], 1))
        erasers.append(torch.stack([eraser for _, eraser in at_places], 1))
    return Maps(torch.stack(moves), torch.stack(erasers))


@dataclass(frozen=True, eq=False)
class Ran:
    """Predictions of changed runs at one layer, the first draw with the real directions.

    Attributes:
        steered: Runs moved.
        erased: Runs erased.
        moved: Which tokens of the set are moved when steered.
        squares: Squared whitened length of the real moves, tokens added up.
    """

    steered: Float[Tensor, "draw other prompt"]
    erased: Float[Tensor, "draw prompt"]
    moved: Bool[Tensor, " place"]
    squares: Float[Tensor, ""]


def run_changed(study: Study, layer: int, places: list[int], maps: Maps) -> Ran:
    """Predictions after the stream behind ``layer`` blocks was changed, for every draw of ``maps``."""
    positions = tuple(place + study.asked.first for place in places)
    mean = torch.stack([study.tokens[place].white.mean[layer] for place in places])
    lengths = torch.stack([study.tokens[place].steering.lengths[layer] for place in places])
    decoded = torch.stack([study.tokens[place].decoded[layer] for place in places])
    moved = (decoded >= study.config.least_r2) & study.is_weights
    n_others = len(study.others) if moved.any() else 0
    wanted = (study.others[:, None] - study.said[layer, places]) * moved[:, None, None]  # [other place prompt column]
    far = einsum(lengths, wanted, "place along column, other place prompt column -> other place prompt along")
    streams = [piece.at(positions, layer) for piece in study.run]
    steered: list[Tensor] = []
    erased: list[Tensor] = []
    for move, eraser in zip(maps.moves[:, layer], maps.erasers[:, layer], strict=True):
        by_piece: list[Tensor] = []
        for piece, stream in zip(study.run, streams, strict=True):
            wide = einsum(
                move,
                wanted[:, :, piece.rows],
                "place width column, other place prompt column -> other prompt place width",
            )
            away = einsum(eraser, stream - mean, "place out width, prompt place width -> prompt place out")
            changed = [*(stream + wide[other] for other in range(n_others)), stream - away]
            by_piece.append(torch.stack([answer(study.model, piece, layer, positions, each) for each in changed]))
        predictions = torch.cat(by_piece, 1)
        steered.append(predictions[:-1])
        erased.append(predictions[-1])
    return Ran(torch.stack(steered), torch.stack(erased), moved, far.square().sum((1, 3)).mean())
