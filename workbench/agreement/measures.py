"""The agreement measures, by name: what each asks of two predictors, and how to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from workbench.agreement.influence_agreement import (
    influence_cosine,
    influence_distance,
    response_cosine,
    response_distance,
)
from workbench.agreement.prediction_difference import skill, spd
from workbench.agreement.scores import PromptScores
from workbench.agreement.similarity import sim_e_scores
from workbench.agreement.weight_agreement import ilwd, sensitivity_cosine, sensitivity_distance, sim_w
from workbench.registry import by_name

Needs = Literal["predictions", "weights", "sensitivity", "influence"]
NEEDS: tuple[Needs, ...] = ("predictions", "weights", "sensitivity", "influence")
Quantity = Float[Tensor, "..."]
"""One of `NEEDS` of a predictor, ``[... batch scored]`` or ``[... batch scored coordinate]``."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What a measure may know besides two predictors.

    Attributes:
        ys: Labels at the scored positions.
        xs: Inputs of the whole prompts.
    """

    ys: Float[Tensor, "batch scored"]
    xs: Float[Tensor, "batch context d_input"]

    @property
    def d_input(self) -> int:
        """Size of x."""
        return self.xs.shape[-1]


@dataclass(frozen=True)
class Measure:
    """One way to compare two predictors.

    Attributes:
        name: Registry name.
        label: Name for people.
        unit: Unit and range, in words.
        higher_is_better: Whether more means more alike.
        best: The value of two equal predictors.
        source: The paper that defines it.
        needs: What it compares: predictions of the labels; weights induced on fresh queries; gradients with respect
            to the prompt's own query (sensitivity); gradients with respect to the labels (influence).
        score: From that of a, that of b (the yardstick) and the scene, at the scored positions, to scores by prompt.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    best: float
    source: str
    needs: Needs
    score: Callable[[Quantity, Quantity, Scene], PromptScores]


def _of_two(score: Callable[..., PromptScores]) -> Callable[[Quantity, Quantity, Scene], PromptScores]:
    """A score that needs no scene."""
    return lambda a, b, _: score(a, b)


def _with_ys(score: Callable[..., PromptScores]) -> Callable[[Quantity, Quantity, Scene], PromptScores]:
    return lambda a, b, scene: score(a, b, scene.ys)


def _with_d(score: Callable[..., PromptScores]) -> Callable[[Quantity, Quantity, Scene], PromptScores]:
    return lambda a, b, scene: score(a, b, scene.d_input)


def _with_xs(score: Callable[..., PromptScores]) -> Callable[[Quantity, Quantity, Scene], PromptScores]:
    return lambda a, b, scene: score(a, b, scene.xs)


MEASURES = by_name(
    Measure(
        name="sim_e",
        label="SimE: cosine of errors",
        unit="in [-1, 1]; about 0.5 for unrelated predictors",
        higher_is_better=True,
        best=1.0,
        source="Fu et al. 2024, arXiv:2310.17086",
        needs="predictions",
        score=_with_ys(sim_e_scores),
    ),
    Measure(
        name="spd",
        label="SPD: squared prediction difference",
        unit="y squared over d, at least 0; over t < d it is MSPD",
        higher_is_better=False,
        best=0.0,
        source="Akyurek et al. 2023, arXiv:2211.15661",
        needs="predictions",
        score=_with_d(spd),
    ),
    Measure(
        name="skill",
        label="Skill: share of the algorithm's predictions explained",
        unit="at most 1; 0 for the zero predictor",
        higher_is_better=True,
        best=1.0,
        source="Murphy 1988, Skill scores based on the mean square error, applied to SPD",
        needs="predictions",
        score=_of_two(skill),
    ),
    Measure(
        name="sim_w",
        label="SimW: cosine of induced weights",
        unit="in [-1, 1]; 0 for unrelated predictors",
        higher_is_better=True,
        best=1.0,
        source="Fu et al. 2024, arXiv:2310.17086",
        needs="weights",
        score=_of_two(sim_w),
    ),
    Measure(
        name="ilwd",
        label="ILWD: squared distance of induced weights",
        unit="w squared over d, at least 0",
        higher_is_better=False,
        best=0.0,
        source="Akyurek et al. 2023, arXiv:2211.15661",
        needs="weights",
        score=_with_d(ilwd),
    ),
    Measure(
        name="sensitivity_cosine",
        label="Cosine of gradients with respect to the query",
        unit="in [-1, 1]; 0 for unrelated predictors",
        higher_is_better=True,
        best=1.0,
        source="von Oswald et al. 2023, arXiv:2212.07677",
        needs="sensitivity",
        score=_of_two(sensitivity_cosine),
    ),
    Measure(
        name="sensitivity_distance",
        label="Distance of gradients with respect to the query",
        unit="w, at least 0",
        higher_is_better=False,
        best=0.0,
        source="von Oswald et al. 2023, arXiv:2212.07677",
        needs="sensitivity",
        score=_of_two(sensitivity_distance),
    ),
    Measure(
        name="influence_cosine",
        label="Cosine of the influence of labels",
        unit="in [-1, 1]",
        higher_is_better=True,
        best=1.0,
        source="Hoaglin and Welsch 1978, The hat matrix in regression and ANOVA",
        needs="influence",
        score=_of_two(influence_cosine),
    ),
    Measure(
        name="influence_distance",
        label="Relative distance of the influence of labels",
        unit="at least 0; 1 for the zero predictor",
        higher_is_better=False,
        best=0.0,
        source="Hoaglin and Welsch 1978, The hat matrix in regression and ANOVA",
        needs="influence",
        score=_of_two(influence_distance),
    ),
    Measure(
        name="response_cosine",
        label="Cosine of the response to w, through all labels",
        unit="in [-1, 1]",
        higher_is_better=True,
        best=1.0,
        source="this program: the part of influence that concerns labels y = w . x",
        needs="influence",
        score=_with_xs(response_cosine),
    ),
    Measure(
        name="response_distance",
        label="Relative distance of the response to w, through all labels",
        unit="at least 0; 1 for the zero predictor",
        higher_is_better=False,
        best=0.0,
        source="this program: the part of influence that concerns labels y = w . x",
        needs="influence",
        score=_with_xs(response_distance),
    ),
)
