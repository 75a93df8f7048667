"""Layers against reference algorithms: pure functions on predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.evidence import by_filter, by_region
from workbench.agreement.fingerprint import fingerprint
from workbench.agreement.nulls import Nulls
from workbench.agreement.record import FamilyAgreement, Fingerprint, LayerAgreement, Reading, Verdict
from workbench.agreement.references import RIDGES, Family, References
from workbench.agreement.sight import Sight
from workbench.agreement.similarity import sim_e_by_prompt
from workbench.agreement.trend import Trend, fit_trend
from workbench.agreement.verdict import weigh
from workbench.metrics import bootstrap_weights, interval

_DRAWN = ("gd", "newton", "cg", "gd_plus_plus", "ridge", "ols")
"""Algorithms whose filters are drawn beside those of the layers."""
ANCHORED = 0.99
"""SimE with an anchor from which on a layer is said to sit on it."""


@dataclass(frozen=True, eq=False)
class LayerPredictions:
    """What the read-outs of all layers predict at the scored positions.

    Attributes:
        trained: Of the model in question.
        untrained: Of the same model before training.
        readout_ridges: Ridge strengths of the read-outs.
        ys: Labels.
        d_input: Size of x, the unit of errors.
        relabelled: Of the trained model asked about the same inputs with labels of other prompts; None if it was not.
        others: Of models of other tasks on these prompts, by what they are called.
    """

    trained: Float[Tensor, "layer batch scored"]
    untrained: Float[Tensor, "layer batch scored"]
    readout_ridges: Float[Tensor, " layer"]
    ys: Float[Tensor, "batch scored"]
    d_input: int
    relabelled: Float[Tensor, "layer batch scored"] | None = None
    others: Mapping[str, Float[Tensor, "layer batch scored"]] = field(default_factory=dict)


def compare(layers: LayerPredictions, known: References, *, n_resamples: int, seed: int) -> Reading:
    """Every layer against every step of every family and against the anchors, with trends and verdict.

    Args:
        layers: What each layer predicts.
        known: What the reference algorithms predict on the same prompts and positions.
        n_resamples: Bootstrap resamples over prompts.
        seed: Seeds the bootstrap.
    """
    shares = bootstrap_weights(len(layers.ys), n_resamples, torch.Generator().manual_seed(seed))
    by_family = {name: _Comparison.of(layers, family, shares) for name, family in known.families.items()}
    anchors, best_ridges = _anchors(layers, known)
    idle = _idle(layers)
    errors = ((layers.trained - layers.ys) ** 2).mean((1, 2)) / layers.d_input
    found = tuple(
        LayerAgreement(
            layer=layer,
            error=errors[layer].item(),
            anchors={name: values[layer] for name, values in anchors.items()},
            best_ridge=best_ridges[layer],
            readout_ridge=layers.readout_ridges[layer].item(),
            families={name: comparison.family(layer) for name, comparison in by_family.items()},
            at_anchor=_sits_on({name: values[layer] for name, values in anchors.items()}, idle=idle[layer]),
        )
        for layer in range(len(layers.trained))
    )
    trend = {name: comparison.trend(found, name) for name, comparison in by_family.items()}
    verdict, filters = _judge(layers, known, shares)
    return Reading(found, trend, verdict, filters)


def _judge(layers: LayerPredictions, known: References, shares: Tensor) -> tuple[Verdict, Fingerprint]:
    """Verdict and spectral filters, on as many of the prompts as all paths are known for."""
    n_few = len(known.few.xs)
    few = shares[:, :n_few] / shares[:, :n_few].sum(1, keepdim=True).clamp(min=1e-9)

    def see(said: Tensor) -> Sight:
        return Sight(said[:, :n_few].double(), known.paths, layers.ys[:n_few], few, known.foils)

    trained = see(layers.trained)
    nulls = Nulls(
        untrained=see(layers.untrained),
        relabelled=None if layers.relabelled is None else see(layers.relabelled),
        others={name: see(said) for name, said in layers.others.items()},
    )
    filters = fingerprint(trained.layers, known.few, known.scored, trained.references(_DRAWN), few)
    verdict = weigh(trained, nulls)
    more = (*by_region(trained, known.scored, layers.d_input), *by_filter(filters))
    return replace(verdict, evidence=(*verdict.evidence, *more)), filters


def _sits_on(anchors: dict[str, float], *, idle: bool) -> str | None:
    """The anchor that a layer cannot be told from, ``output`` for one that changes nothing any more, or None."""
    near = next((name for name in ("zero", "ols", "bayes") if anchors.get(name, 0.0) >= ANCHORED), None)
    return near or ("output" if idle else None)


def _idle(layers: LayerPredictions) -> list[bool]:
    """Whether nothing changes any more from the layer before on: then this one adds no iteration."""
    to_last = sim_e_by_prompt(layers.trained, layers.trained[-1:], layers.ys)[:, 0].nanmean(-1)
    settled = (to_last >= ANCHORED).flip(0).cumprod(0).flip(0).bool()  # this layer and all after it
    return [False, *settled[:-1].tolist()]


def _anchors(layers: LayerPredictions, known: References) -> tuple[dict[str, list[float]], list[float]]:
    """SimE of each layer with each anchor, and the ridge strength nearest to each layer."""
    found = {
        name: sim_e_by_prompt(layers.trained, anchor[None], layers.ys)[:, 0].nanmean(-1).tolist()
        for name, anchor in known.anchors.items()
    }
    by_ridge = sim_e_by_prompt(layers.trained, known.ridges, layers.ys).nanmean(-1)
    best = by_ridge.nan_to_num(-torch.inf).argmax(1)
    found["ridge"] = by_ridge[torch.arange(len(best)), best].tolist()
    return found, [RIDGES[i] for i in best.tolist()]


@dataclass(frozen=True, eq=False)
class _Comparison:
    """All layers against all steps of one family, with bootstrap."""

    steps: tuple[int, ...]
    sim_e: Float[Tensor, "layer step"]
    resampled: Float[Tensor, "resample layer step"]
    chance: Float[Tensor, "layer step"]
    untrained: Float[Tensor, "layer step"]

    @classmethod
    def of(cls, layers: LayerPredictions, family: Family, shares: Tensor) -> "_Comparison":
        by_prompt = sim_e_by_prompt(layers.trained, family.predictions, layers.ys)
        there = ~by_prompt.isnan()
        summed = torch.einsum("rp,lsp->rls", shares, by_prompt.nan_to_num(0.0))
        counted = torch.einsum("rp,lsp->rls", shares, there.double())
        return cls(
            steps=family.steps,
            sim_e=by_prompt.nanmean(-1),
            resampled=summed / counted,
            chance=_shifted(layers.trained, family.predictions, layers.ys),
            untrained=sim_e_by_prompt(layers.untrained, family.predictions, layers.ys).nanmean(-1),
        )

    @property
    def best(self) -> Tensor:
        """Index of the best step of each layer, the first if several."""
        return self.sim_e.nan_to_num(-torch.inf).argmax(1)

    def family(self, layer: int) -> FamilyAgreement:
        best = int(self.best[layer])
        steps = torch.tensor(self.steps, dtype=torch.float64)
        best_steps = steps[self.resampled[:, layer].nan_to_num(-torch.inf).argmax(-1)]
        ci, step_ci = interval(self.resampled[:, layer, best]), interval(best_steps)
        return FamilyAgreement(
            steps=self.steps,
            sim_e=tuple(self.sim_e[layer].tolist()),
            best_step=self.steps[best],
            best_sim_e=self.sim_e[layer, best].item(),
            ci=(ci.low, ci.high),
            best_step_ci=(step_ci.low, step_ci.high),
            chance=self.chance[layer, best].item(),
            untrained=self.untrained[layer, best].item(),
        )

    def trend(self, layers: Sequence[LayerAgreement], name: str) -> Trend:
        """Trend of the best step over the longest run of layers where it says something.

        A layer on an anchor says nothing, nor does one that matches no step at all, or the converged algorithm:
        there more steps would match as well.
        """
        between = range(1, len(self.steps) - 1)
        kept = _longest_run([la.layer for la in layers if la.at_anchor is None and int(self.best[la.layer]) in between])
        steps = np.asarray(self.steps)
        resampled = steps[self.resampled[:, kept].nan_to_num(-torch.inf).argmax(-1).numpy()]
        return fit_trend(kept, [layers[i].families[name].best_step for i in kept], np.maximum(resampled, 1))


def _longest_run(layers: Sequence[int]) -> list[int]:
    """The longest run of consecutive numbers, the later one of two."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return max(reversed(runs), key=len, default=[])


def _shifted(predictions: Tensor, references: Tensor, ys: Tensor) -> Float[Tensor, "layer step"]:
    """SimE with an algorithm that saw another prompt: its predictions there, against the labels here.

    Not zero: both err by the part of y that neither knows.
    """
    return sim_e_by_prompt(predictions, references.roll(1, dims=1), ys).nanmean(-1)
