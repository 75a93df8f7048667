"""What an agreement study finds, in the shape that the JSON output has."""

from dataclasses import dataclass

from workbench.agreement.trend import Trend

SCHEMA = "mesascope/agreement/1"


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
class Verdict:
    """What the table says in a sentence.

    Attributes:
        algorithm: Registry name of the algorithm whose step count rises linearly with depth, or None.
        abstained: Whether no algorithm is named.
        sentence: What was seen, and what it cannot tell apart.
        evidence: The facts behind it, one sentence each.
    """

    algorithm: str | None
    abstained: bool
    sentence: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """All layers under one way of reading them.

    Attributes:
        layers: One per layer, the embedding first.
        trend: Trend of the best step over informative layers, by algorithm.
        verdict: What that says.
    """

    layers: tuple[LayerAgreement, ...]
    trend: dict[str, Trend]
    verdict: Verdict
