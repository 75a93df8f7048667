"""What an agreement study finds, in the shape that the JSON output has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from workbench.agreement.trend import Trend

SCHEMA = "mesascope/agreement/1"

Scale = Literal["sum", "mean", "relative"]


@dataclass(frozen=True)
class FamilyAgreement:
    """One layer against all steps of one algorithm.

    Attributes:
        steps: Numbers of steps, up to where the algorithm has converged on these prompts.
        sim_e: SimE at each.
        best_step: Step of the largest, the smallest such step.
        best_sim_e: SimE there.
        ci: 95% bootstrap interval over prompts of SimE at the best step.
        best_step_ci: 95% bootstrap interval over prompts of the best step.
        chance: SimE at the best step with what the algorithm predicts on another prompt, against the labels here.
        untrained: SimE at the best step of the same layer of the untrained model, read out the same way.
    """

    steps: tuple[int, ...]
    sim_e: tuple[float, ...]
    best_step: int
    best_sim_e: float
    ci: tuple[float, float]
    best_step_ci: tuple[float, float]
    chance: float
    untrained: float


@dataclass(frozen=True)
class LayerAgreement:
    """One layer's read-out.

    Attributes:
        layer: 0 is the embedding, l the stream after block l.
        error: Mean squared error over scored positions, over d.
        anchors: SimE with predictors that carry no evidence about iterations.
        best_ridge: Ridge strength behind the ridge anchor: the one nearest to this layer.
        readout_ridge: Ridge strength of the read-out itself, relative to the mean diagonal of its Gram matrix.
        families: Agreement with each iterative algorithm, by registry name.
        at_anchor: ``zero``, ``ols`` or ``bayes`` if the layer cannot be told from it, ``output`` if from the layer
            before on nothing changes any more, or None: then it is informative.
    """

    layer: int
    error: float
    anchors: dict[str, float]
    best_ridge: float
    readout_ridge: float
    families: dict[str, FamilyAgreement]
    at_anchor: str | None


@dataclass(frozen=True)
class NearestRidge:
    """Ridge of every strength against the model's own output.

    Attributes:
        strengths: On the sum loss.
        difference: Mean squared difference of predictions over d (SPD) at each.
        median: Median over prompts of each prompt's mean.
        strength: Of the least difference.
        ci: Its 95% bootstrap interval over prompts.
        bayes: Strength of the Bayes predictor: noise variance over that of a coordinate of w; 0 without noise, None
            where the Bayes predictor is no ridge.
    """

    strengths: tuple[float, ...]
    difference: tuple[float, ...]
    median: tuple[float, ...]
    strength: float
    ci: tuple[float, float]
    bayes: float | None


@dataclass(frozen=True)
class Nearness:
    """Where the layers stand on the path of one algorithm, under its nearest convention.

    Attributes:
        layers: Those that say anything.
        convention: What is held fixed along the path.
        parameter: What moves: steps, strength, ...
        values: Of it, at each layer.
        misfits: Mean squared distance of each layer from there, in units of the mean squared label.
        progress: Share of the way from nothing to least squares, or to speaking at all, that is behind each layer.
        lean: How far the layers lie from the nearest algorithm of all (0) towards this one (1); None if both predict
            the same there, so that there is no way from one to the other.
        lean_ci: 95% bootstrap interval of that over prompts; of None then.
    """

    layers: tuple[int, ...]
    convention: str
    parameter: str
    values: tuple[float, ...]
    misfits: tuple[float, ...]
    progress: tuple[float, ...]
    lean: float | None
    lean_ci: tuple[float | None, float | None]


@dataclass(frozen=True)
class Advance:
    """Layers that filter the spectrum of their prefix, each more than the one before.

    Attributes:
        convention: Of gradient descent, in whose steps they are counted.
        layers: Between start and convergence.
        steps: At which gradient descent is nearest to each.
        law: ``linear``: they add up; ``geometric``: they multiply; ``none``.
        rate: Steps more, or times as many, a layer.
    """

    convention: str
    layers: tuple[int, ...]
    steps: tuple[float, ...]
    law: str
    rate: float | None


@dataclass(frozen=True)
class Verdict:
    """Which algorithm the layers run.

    Attributes:
        algorithm: Registry name, ``mixture``, or None. ``gd`` stands for the class: gradient descent with or without
            momentum.
        abstained: Whether no algorithm is named.
        sentence: What was seen, what it cannot tell apart, and what would tell.
        evidence: The facts behind it, one sentence each.
        equals: What the named algorithm cannot be told from, or the two parts of a mixture.
        reason: Why it abstained, or None.
        advance: How fast the layers advance in steps of gradient descent, whatever the algorithm; None if they do not.
        nearness: For each algorithm, the nearest first, where the layers stand on its path.
        kin: Registry names of methods of gradients that are as near as the nearest one, from which they differ by
            momentum.
        member: Registry name of the nearest method of gradients, if the class is named.
    """

    algorithm: str | None
    abstained: bool
    sentence: str
    evidence: tuple[str, ...]
    equals: tuple[str, ...] = ()
    reason: str | None = None
    advance: Advance | None = None
    nearness: dict[str, Nearness] = field(default_factory=dict)
    kin: tuple[str, ...] = ()
    member: str | None = None


@dataclass(frozen=True)
class LayerFilter:
    """One layer's filter.

    Attributes:
        layer: 0 is the embedding, l the stream after block l.
        learnt: lambda f(lambda) at each eigenvalue: 0 nothing, 1 as least squares.
        low: Lower ends of its 95% bootstrap intervals over prompts.
        high: Upper ends.
        explained: Share of what the layer says that any filter of this scale explains; None for a silent layer.
        references: The same fit to what each reference algorithm says at the point of its path nearest to this layer.
        distances: Root mean squared difference to those, weighted by what least squares says at each eigenvalue.
    """

    layer: int
    learnt: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    explained: float | None
    references: Mapping[str, tuple[float, ...]]
    distances: Mapping[str, float]


@dataclass(frozen=True)
class Fingerprint:
    """The filters of all layers.

    Attributes:
        scale: What an eigenvalue is counted in.
        eigenvalues: Where the filters are given; straight lines in the logarithm between.
        weights: Share of what least squares says that is near each eigenvalue.
        layers: One per layer.
    """

    scale: Scale
    eigenvalues: tuple[float, ...]
    weights: tuple[float, ...]
    layers: tuple[LayerFilter, ...]


@dataclass(frozen=True)
class Reading:
    """All layers under one way of reading them.

    Attributes:
        layers: One per layer, the embedding first.
        trend: Trend of the best step over informative layers, by algorithm.
        verdict: Which algorithm that is.
        fingerprint: The spectral filter of every layer.
    """

    layers: tuple[LayerAgreement, ...]
    trend: dict[str, Trend]
    verdict: Verdict
    fingerprint: Fingerprint
