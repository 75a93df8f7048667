"""Whether the model uses what probes decode: replace it, erase it, and see what is predicted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from probes.asked import Asked, Piece, answer, pieces, targets_at
from probes.directions import rank
from probes.follows import Lost, coefficients, ends, everyone, followed, lost, p_value
from probes.material import regression_prompts
from probes.record import ProbeTarget
from probes.scores import r2
from probes.steering_config import SteeringConfig
from probes.steering_fit import Token, fit_tokens, maps_of
from probes.steering_record import Erased, Steered, SteeringRow
from probes.targets import find_target
from workbench import baselines
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import bootstrap_weights
from workbench.models.transformer import Transformer
from workbench.tasks import Task


@dataclass(frozen=True, eq=False)
class _Study:
    """What is the same for all layers and sets of tokens of one target at one number of examples."""

    model: Transformer
    config: SteeringConfig
    target: str
    asked: Asked
    tokens: list[Token]
    test: RegressionBatch
    truth: Float[Tensor, "prompt pos column"]
    others: Float[Tensor, "other prompt column"]
    is_weights: bool


def steer(
    model: Transformer, task: Task, config: SteeringConfig, tell: Callable[[str], None] | None = None
) -> tuple[SteeringRow, ...]:
    """Replace and erase what probes decode, site by site, beside random directions of equal rank and length.

    Args:
        model: The model.
        task: Where prompts come from.
        config: Settings.
        tell: Told each stage as it starts.

    Raises:
        InputError: If a target or layer is not there, prompts are of another kind or too few, or streams not finite.
    """
    targets = [find_target(name) for name in config.targets]
    layers = _layers(config, model)
    fit = regression_prompts(task, config.seed, "probe", config.n_fit)
    test = regression_prompts(task, config.seed, "probe-test", config.n_prompts)
    if fit.ys.ndim == 3:
        raise InputError("steering needs labels that are numbers; these are vectors.")
    found: list[SteeringRow] = []
    for n in _counts(config, fit):
        for target in targets:
            if tell is not None:
                tell(f"steering and erasing {target.name} after {n} examples")
            study = _prepare(model, task, config, target, (fit.prefix(n + 1), test.prefix(n + 1)))
            found += _rows(study, layers)
    return tuple(found)


def _layers(config: SteeringConfig, model: Transformer) -> tuple[int, ...]:
    n_layers = model.config.n_layers
    outside = [layer for layer in config.layers or () if layer > n_layers]
    if outside:
        raise InputError(f"layers must be at most {n_layers}, the blocks of the model; got {outside}.")
    return config.layers or tuple(range(n_layers + 1))


def _counts(config: SteeringConfig, batch: RegressionBatch) -> tuple[int, ...]:
    most = batch.n_context - 1
    outside = [n for n in config.n_contexts or () if n > most]
    if outside or most < 1:
        raise InputError(
            f"n_contexts must be at most {most} in prompts of {batch.n_context} examples, so that one is left to ask "
            f"with; got {outside}."
        )
    return config.n_contexts or (min(2 * batch.xs.shape[2], most),)


def _prepare(
    model: Transformer,
    task: Task,
    config: SteeringConfig,
    target: ProbeTarget,
    prompts: tuple[RegressionBatch, RegressionBatch],
) -> _Study:
    fit, test = prompts
    asked = Asked.of(model, fit.n_context - 1)
    fit_truth, truth = (targets_at(batch, task, target, asked) for batch in prompts)
    at_query = truth[:, -1]
    return _Study(
        model=model,
        config=config,
        target=target.name,
        asked=asked,
        tokens=fit_tokens(model, fit, fit_truth, asked, config),
        test=test,
        truth=truth,
        others=torch.stack([at_query.roll(1 + other, 0) for other in range(config.n_others)]),
        is_weights=truth.shape[-1] == fit.xs.shape[2],
    )


@dataclass(frozen=True, eq=False)
class _Ran:
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


def _rows(study: _Study, layers: tuple[int, ...]) -> Iterator[SteeringRow]:
    config, asked = study.config, study.asked
    shares = bootstrap_weights(config.n_prompts, config.n_resamples, torch.Generator().manual_seed(config.seed))
    run = list(pieces(study.model, study.test))
    before = torch.cat([answer(study.model, piece, 0) for piece in run])
    said = torch.cat([_said(study, piece.at(asked.positions)) for piece in run], 2)  # [layer pos prompt column]
    for name, positions in asked.sets(config.tokens):
        places = [position - asked.first for position in positions]
        score = torch.stack([r2(said[:, place, :, None], study.truth[:, place, None]) for place in places]).mean(0)
        maps = _maps(study, places)
        for layer in layers:
            ran = _run(study, run, layer, (places, positions), maps, said[layer])
            yield SteeringRow(
                target=study.target,
                n_context=asked.n,
                tokens=name,
                positions=positions,
                layer=layer,
                r2=score[layer].item(),
                steered=_steered(study, ran, before, shares, layer, places) if ran.moved.any() else None,
                erased=_erased(study, ran, before, shares, layer, places),
            )


def _said(study: _Study, streams: Float[Tensor, "layer batch pos d_model"]) -> Tensor:
    return torch.stack([token.probe(streams[:, :, index]) for index, token in enumerate(study.tokens)], 1)


@dataclass(frozen=True, eq=False)
class _Maps:
    """How streams are changed, the first draw along the real directions.

    Attributes:
        moves: From the wanted change of what is decoded to the move of the stream.
        erasers: From the centred stream to what is taken away.
    """

    moves: Float[Tensor, "draw layer place width column"]
    erasers: Float[Tensor, "draw layer place width width"]


def _maps(study: _Study, places: list[int]) -> _Maps:
    moves: list[Tensor] = []
    erasers: list[Tensor] = []
    for draw in range(1 + study.config.n_draws):
        at_places = [maps_of(study.tokens[place], draw, study.config.seed) for place in places]
        moves.append(torch.stack([move for move, _ in at_places], 1))
        erasers.append(torch.stack([eraser for _, eraser in at_places], 1))
    return _Maps(torch.stack(moves), torch.stack(erasers))


def _run(
    study: _Study,
    run: list[Piece],
    layer: int,
    where: tuple[list[int], tuple[int, ...]],
    maps: _Maps,
    said: Float[Tensor, "pos prompt column"],
) -> _Ran:
    places, positions = where
    mean = torch.stack([study.tokens[place].white.mean[layer] for place in places])
    lengths = torch.stack([study.tokens[place].steering.lengths[layer] for place in places])
    decoded = torch.stack([study.tokens[place].decoded[layer] for place in places])
    moved = (decoded >= study.config.least_r2) & study.is_weights
    n_others = len(study.others) if moved.any() else 0
    wanted = (study.others[:, None] - said[places]) * moved[:, None, None]  # [other place prompt column]
    far = einsum(lengths, wanted, "place along column, other place prompt column -> other place prompt along")
    streams = [piece.at(positions, layer) for piece in run]
    steered: list[Tensor] = []
    erased: list[Tensor] = []
    for move, eraser in zip(maps.moves[:, layer], maps.erasers[:, layer], strict=True):
        by_piece: list[Tensor] = []
        for piece, stream in zip(run, streams, strict=True):
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
    return _Ran(torch.stack(steered), torch.stack(erased), moved, far.square().sum((1, 3)).mean())


def _steered(study: _Study, ran: _Ran, before: Tensor, shares: Tensor, layer: int, places: list[int]) -> Steered:
    query = study.test.xs[:, -1].double()
    wanted = einsum(study.others, query, "other prompt d_input, prompt d_input -> other prompt")
    random = coefficients(ran.steered[1:], wanted, before, everyone(len(before)))[:, 0, 0]
    own = followed(ran.steered[0], wanted, before, shares)
    usual = sum(
        2 * study.tokens[place].white.rank[layer].item()
        for place, is_moved in zip(places, ran.moved, strict=True)
        if is_moved
    )
    return Steered(
        followed=own,
        random=random.mean().item(),
        random_range=ends(random),
        p_value=p_value(torch.tensor(own.slope, dtype=torch.float64), random),
        n_tokens=int(ran.moved.sum()),
        length=(ran.squares.item() / usual) ** 0.5,
    )


def _erased(study: _Study, ran: _Ran, before: Tensor, shares: Tensor, layer: int, places: list[int]) -> Erased:
    xs, ys = study.test.xs.double(), study.test.ys.double()
    d_input, ols = xs.shape[2], baselines.predict("ols", xs, ys)[:, -1]
    losses: list[Lost] = []
    starts: list[float] = []
    for truth in (ys[:, -1], ols):
        squares = (ran.erased - truth).square() / d_input
        losses.append(lost(squares[0], squares[1:], shares))
        starts.append(((before - truth).square().mean() / d_input).item())
    n_directions = max(int(rank(study.tokens[place].telling)[layer].item()) for place in places)
    return Erased(n_directions, losses[0], losses[1], starts[0], starts[1])
