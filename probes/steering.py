"""Whether the model uses what probes decode: replace it, erase it, and see what is predicted."""

from collections.abc import Callable, Iterator

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from probes.changed_runs import Maps, Ran, Study, maps_at, prepare, run_changed
from probes.directions import rank
from probes.follows import Followed, Lost, coefficients, ends, everyone, followed, lost, p_value
from probes.material import regression_prompts
from probes.scores import r2
from probes.steering_config import SteeringConfig
from probes.steering_record import Erased, Steered, SteeringRow
from probes.targets import find_target
from workbench import baselines
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import bootstrap_weights
from workbench.models.transformer import Transformer
from workbench.tasks import Task


def steer(
    model: Transformer,
    task: Task,
    config: SteeringConfig,
    tell: Callable[[str], None] | None = None,
    untrained: Transformer | None = None,
) -> tuple[SteeringRow, ...]:
    """Replace and erase what probes decode, site by site, beside random directions of equal rank and length.

    Args:
        model: The model.
        task: Where prompts come from.
        config: Settings.
        tell: Told each stage as it starts.
        untrained: The model before training, whose stream is moved by probes of its own beside.

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
            prompts = fit.prefix(n + 1), test.prefix(n + 1)
            study = prepare(model, task, config, target, prompts)
            beside = None if untrained is None else prepare(untrained, task, config, target, prompts)
            found += _rows(study, beside, layers)
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


def _rows(study: Study, beside: Study | None, layers: tuple[int, ...]) -> Iterator[SteeringRow]:
    config, asked, truth = study.config, study.asked, study.truth
    shares = bootstrap_weights(config.n_prompts, config.n_resamples, torch.Generator().manual_seed(config.seed))
    for name, positions in asked.sets(config.tokens):
        places = [position - asked.first for position in positions]
        score = torch.stack([r2(study.said[:, place, :, None], truth[:, place, None]) for place in places]).mean(0)
        maps = maps_at(study, places, config.n_draws)
        untrained = None if beside is None else maps_at(beside, places, 0)
        for layer in layers:
            ran = run_changed(study, layer, places, maps)
            yield SteeringRow(
                target=study.target,
                n_context=asked.n,
                tokens=name,
                positions=positions,
                layer=layer,
                r2=score[layer].item(),
                steered=_steered(study, ran, shares, layer, places) if ran.moved.any() else None,
                untrained=None if untrained is None else _alone(beside, untrained, shares, layer, places),
                erased=_erased(study, ran, shares, layer, places),
            )


def _wanted(study: Study) -> Float[Tensor, "other prompt"]:
    """What the weights put in would predict."""
    query = study.test.xs[:, -1].double()
    return einsum(study.others, query, "other prompt d_input, prompt d_input -> other prompt")


def _alone(study: Study | None, maps: Maps, shares: Tensor, layer: int, places: list[int]) -> Followed | None:
    """How far the predictions of a model beside follow its own probes; None where they decode nothing."""
    assert study is not None
    ran = run_changed(study, layer, places, maps)
    return followed(ran.steered[0], _wanted(study), study.before, shares) if ran.moved.any() else None


def _steered(study: Study, ran: Ran, shares: Tensor, layer: int, places: list[int]) -> Steered:
    wanted, before = _wanted(study), study.before
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


def _erased(study: Study, ran: Ran, shares: Tensor, layer: int, places: list[int]) -> Erased:
    xs, ys = study.test.xs.double(), study.test.ys.double()
    d_input, ols = xs.shape[2], baselines.predict("ols", xs, ys)[:, -1]
    losses: list[Lost] = []
    starts: list[float] = []
    for truth in (ys[:, -1], ols):
        squares = (ran.erased - truth).square() / d_input
        losses.append(lost(squares[0], squares[1:], shares))
        starts.append(((study.before - truth).square().mean() / d_input).item())
    n_directions = max(int(rank(study.tokens[place].telling)[layer].item()) for place in places)
    return Erased(n_directions, losses[0], losses[1], starts[0], starts[1])
