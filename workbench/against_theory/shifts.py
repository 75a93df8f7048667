"""Model and theory's predictor side by side on prompts unlike those of training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import Observed, blocks, clean, drawn, lengthened, observe, resampled
from workbench.against_theory.predictors import Predictor
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.metrics import Interval
from workbench.models.transformer import Transformer
from workbench.registry import by_name
from workbench.regression_law import RegressionLaw
from workbench.tasks import Task

Change = Callable[[RegressionBatch, float, torch.Generator], RegressionBatch]


@dataclass(frozen=True)
class Shift:
    """One way in which prompts can be others.

    Attributes:
        name: Registry name.
        label: Name for people, with the unit of the places.
        places: Strengths, one of which leaves prompts as they are in training, if any does.
        source: Who asks models so.
        change: From prompts as in training to others; None where fresh ones of another length are drawn.
    """

    name: str
    label: str
    places: tuple[float, ...]
    source: str
    change: Change | None


@dataclass(frozen=True)
class Shifted:
    """Excess risk along a shift.

    Attributes:
        axis: The shift's name.
        label: The same for people.
        at: Places.
        excess: Of the model.
        low: Lower ends of 95% intervals, bootstrap over blocks of prompts.
        high: Upper ends.
        theory: Of theory's predictor, on the same prompts.
        zero: Of predicting 0, on the same prompts.
        over: The model's excess risk over theory's, on the same prompts.
        over_low: Lower ends of 95% intervals of that ratio.
        over_high: Upper ends.
        apart: Mean square of the difference of both predictions, over that of theory's.
        source: Who asks models so.
    """

    axis: str
    label: str
    at: tuple[float, ...]
    excess: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    theory: tuple[float, ...]
    zero: tuple[float, ...]
    over: tuple[float, ...]
    over_low: tuple[float, ...]
    over_high: tuple[float, ...]
    apart: tuple[float, ...]
    source: str


def _with_inputs(batch: RegressionBatch, xs: Tensor) -> RegressionBatch:
    """The same w and noise on other inputs."""
    noise = batch.ys - clean(batch)
    ys = (xs * batch.latents["w"][:, None].to(xs.dtype)).sum(-1) + noise
    return replace(batch, xs=xs, ys=ys)


def scaled_inputs(batch: RegressionBatch, place: float, _generator: torch.Generator) -> RegressionBatch:
    """All inputs times a factor."""
    return _with_inputs(batch, place * batch.xs)


def scaled_query(batch: RegressionBatch, place: float, _generator: torch.Generator) -> RegressionBatch:
    """The query alone times a factor."""
    factors = torch.ones(batch.n_context, 1, dtype=batch.xs.dtype)
    factors[-1] = place
    return _with_inputs(batch, factors * batch.xs)


def scaled_weights(batch: RegressionBatch, place: float, _generator: torch.Generator) -> RegressionBatch:
    """W times a factor."""
    noise = batch.ys - clean(batch)
    latents = {**batch.latents, "w": place * batch.latents["w"]}
    return replace(batch, ys=place * (batch.ys - noise) + noise, latents=latents)


def other_inputs(batch: RegressionBatch, place: float, generator: torch.Generator) -> RegressionBatch:
    """Inputs of normal, exponential or Laplace law, a third of the prompts each, over their norm, times the place."""
    xs = batch.xs
    normal = torch.randn(xs.shape, generator=generator, dtype=xs.dtype)
    exponential = -torch.rand(xs.shape, generator=generator, dtype=xs.dtype).clamp(min=1e-12).log()
    sign = torch.where(torch.rand(xs.shape, generator=generator) < 0.5, -1.0, 1.0).to(xs.dtype)
    which = (torch.arange(len(xs)) % 3)[:, None, None]
    drawn_xs = torch.where(which == 0, normal, torch.where(which == 1, exponential, sign * exponential))
    norm = drawn_xs[:, :-1].flatten(1).norm(dim=1)[:, None, None]
    return _with_inputs(batch, place * drawn_xs / norm)


def random_covariance(batch: RegressionBatch, place: float, generator: torch.Generator) -> RegressionBatch:
    """Every coordinate of a prompt's inputs times the root of its own variance, place times Exponential(1)."""
    shape = (len(batch.xs), 1, batch.xs.shape[-1])
    variances = -torch.rand(shape, generator=generator, dtype=batch.xs.dtype).clamp(min=1e-12).log()
    return _with_inputs(batch, (place * variances).sqrt() * batch.xs)


def wrong_labels(batch: RegressionBatch, place: float, generator: torch.Generator) -> RegressionBatch:
    """So many labels of examples replaced by normal numbers with the labels' own spread."""
    ys = batch.ys.clone()
    n = round(place)
    ys[:, :n] = ys.std() * torch.randn(len(ys), n, generator=generator, dtype=ys.dtype)
    return replace(batch, ys=ys, latents={**batch.latents, "noise": ys - clean(batch)})


_OSWALD = "von Oswald et al. 2023, arXiv:2212.07677, section 3 and appendix"
_ZHANG = "Zhang et al. 2023, arXiv:2306.09927, section 5"
SHIFTS = by_name(
    Shift("inputs", "factor on inputs", (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0), f"{_OSWALD}; {_ZHANG}", scaled_inputs),
    Shift("query", "factor on the query alone", (0.5, 1.0, 2.0, 3.0), _ZHANG, scaled_query),
    Shift("weights", "factor on w", (0.5, 1.0, 2.0, 3.0, 5.0), _OSWALD, scaled_weights),
    Shift(
        "law",
        "norm of prompts of normal, exponential and Laplace inputs",
        (0.5, 1.0, 2.0, 3.5, 5.0),
        _OSWALD,
        other_inputs,
    ),
    Shift("labels", "labels replaced by noise", (0.0, 2.0, 4.0, 8.0), _OSWALD, wrong_labels),
    Shift("covariance", "mean of random variances", (1.0, 4.0, 9.0), _ZHANG, random_covariance),
    Shift("length", "examples over those of training", (0.5, 1.0, 2.0, 4.0, 10.0), _ZHANG, None),
)


def shifts(
    predict: Predictor, model: Transformer, task: Task, law: RegressionLaw, config: TheoryConfig
) -> tuple[Shifted, ...]:
    """Every shift that prompts allow: w must be known to change inputs, and no weight belong to a position for lengths.

    Args:
        predict: Theory's predictor, the best one for prompts as in training.
        model: The model, in float64.
        task: Its task.
        law: The law of its prompts.
        config: Settings.
    """
    found = []
    for shift in SHIFTS.values():
        try:
            found.append(_along(shift, predict, model, task, law, config))
        except InputError:
            continue
    return tuple(found)


def _along(
    shift: Shift, predict: Predictor, model: Transformer, task: Task, law: RegressionLaw, config: TheoryConfig
) -> Shifted:
    at = tuple(place for place in shift.places if shift.name != "labels" or place <= law.n_examples)
    parts = [_columns(shift, place, predict, model, task, law, config) for place in at]
    values = []
    for columns in parts:
        means, ends = resampled(
            lambda shares, columns=columns: _ratios(shares @ columns), config.n_resamples, config.seed
        )
        values.append((means.tolist(), ends[0], ends[-1]))
    intervals: list[Interval] = [ends for _, ends, _ in values]
    return Shifted(
        shift.name,
        shift.label,
        at,
        tuple(means[0] for means, _, _ in values),
        tuple(ends.low for ends in intervals),
        tuple(ends.high for ends in intervals),
        tuple(means[1] for means, _, _ in values),
        tuple(means[4] for means, _, _ in values),
        tuple(means[5] for means, _, _ in values),
        tuple(ends.low for _, _, ends in values),
        tuple(ends.high for _, _, ends in values),
        tuple(means[2] / means[3] for means, _, _ in values),
        shift.source,
    )


def _ratios(means: Float[Tensor, " five"]) -> Float[Tensor, " six"]:
    """The means, and the first over the second."""
    return torch.cat([means, (means[0] / means[1])[None]])


def _columns(
    shift: Shift,
    place: float,
    predict: Predictor,
    model: Transformer,
    task: Task,
    law: RegressionLaw,
    config: TheoryConfig,
) -> Float[Tensor, "block five"]:
    stream = f"theory {shift.name}"
    if shift.change is None:
        if model.config.query_in_keys:
            raise InputError("model.query_in_keys must be False for theory's predictor at other lengths; got True.")
        length = max(1, round(place * law.n_examples))
        seen = observe(lengthened(model, length), drawn(task, config.n_curve, config.seed, stream, n_examples=length))
    else:
        batch = drawn(task, config.n_curve, config.seed, stream)
        if "w" not in batch.latents or law.target != "linear":
            raise InputError(f"labels must be linear in x for other inputs; got {law.target!r}.")
        changed = shift.change(batch, place, torch.Generator().manual_seed(config.seed))
        seen = observe(model, changed)
    return blocks(_squares(seen, predict))


def _squares(seen: Observed, predict: Predictor) -> Float[Tensor, "batch five"]:
    told = predict(seen.batch)
    return torch.stack(
        [
            (seen.said - seen.truth).square(),
            (told - seen.truth).square(),
            (seen.said - told).square(),
            told.square(),
            seen.truth.square(),
        ],
        1,
    )
