"""What `measure_layers` is asked, and what it finds. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.agreement.regions import NEAR, Region
from workbench.configs import is_count
from workbench.errors import must, refuse_faults


@dataclass(frozen=True)
class Algorithm:
    """One reference algorithm to compare layers with.

    Attributes:
        name: A name from ``BASELINES``.
        step: Number of steps, for one that iterates.
        options: Its own keyword options, plain values.
    """

    name: str
    step: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasureConfig:
    """How layers are measured."""

    n_prompts: int = 256
    """Prompts for measures on predictions."""
    n_probe_prompts: int = 64
    """Prompts, the first of those, for what needs many runs of the model: weights, sensitivity, influence."""
    n_query: int | None = None
    """Fresh queries that induced weights are fitted on; three times d if not given."""
    seed: int = 0
    """Seeds prompts and bootstrap."""
    first_position: int = 1
    """First context position scored, 0-based. Position 0 has no examples: every predictor says about 0 there."""
    last_position: int | None = None
    """Last context position scored; the last of the prompt if not given."""
    near: int = NEAR
    """Positions on either side of d that count as near it."""
    n_resamples: int = 500
    """Bootstrap resamples over prompts."""

    def __post_init__(self) -> None:
        rule = f"be a whole number from 2 to n_prompts {self.n_prompts}"
        few = is_count(self.n_probe_prompts, 2) and self.n_probe_prompts <= self.n_prompts
        refuse_faults(
            [
                must("n_prompts", "be a whole number of at least 2", self.n_prompts, is_count(self.n_prompts, 2)),
                must("n_probe_prompts", rule, self.n_probe_prompts, few),
                must("near", "be a whole number of at least 0", self.near, is_count(self.near, 0)),
                must("n_resamples", "be a whole number of at least 1", self.n_resamples, is_count(self.n_resamples)),
            ]
        )


Numbers = tuple[tuple[float, ...], ...]
"""One per row, then per algorithm."""


@dataclass(frozen=True)
class MeasureTable:
    """One measure in one region: every row against every algorithm.

    Attributes:
        measure: A name from ``MEASURES``.
        region: Name of the region.
        mean: Mean over prompts and positions.
        low: Lower end of its 95% bootstrap interval over prompts.
        high: Upper end.
        median: Median over prompts of the prompt's mean over positions.
        median_low: Lower end of its 95% interval over prompts.
        median_high: Upper end.
        undefined: Share of the values that are undefined, such as cosines with weights that are zero; left out.
    """

    measure: str
    region: str
    mean: Numbers
    low: Numbers
    high: Numbers
    median: Numbers
    median_low: Numbers
    median_high: Numbers
    undefined: Numbers


@dataclass(frozen=True)
class Linearity:
    """How linear in the query each row is in one region.

    Attributes:
        region: Name of the region.
        mean: R^2 of the linear fit behind the induced weights, by row.
        low: Lower end of its 95% bootstrap interval over prompts.
        high: Upper end.
        median: Median over prompts.
        undefined: Share of prefixes where a row says nothing but 0.
    """

    region: str
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    median: tuple[float, ...]
    undefined: tuple[float, ...]


@dataclass(frozen=True)
class LayerMeasures:
    """Every measure of every layer against every algorithm in every region.

    Attributes:
        rows: What was measured: the number of each layer, whose read-out it is, and ``output``, the model's own.
        final_norm: Whether read-outs read through the final norm.
        algorithms: What rows are compared with.
        regions: Ranges of context positions.
        tables: One per measure and region.
        linearity: One per region, where induced weights were measured.
        n_prompts: Prompts behind each measure, by what it needs.
        n_query: Fresh queries per prefix behind induced weights.
        config: Settings.
    """

    rows: tuple[str, ...]
    final_norm: bool
    algorithms: tuple[Algorithm, ...]
    regions: tuple[Region, ...]
    tables: tuple[MeasureTable, ...]
    linearity: tuple[Linearity, ...]
    n_prompts: Mapping[str, int]
    n_query: int
    config: MeasureConfig


@dataclass(frozen=True)
class Curve:
    """Forgetting of one predictor: mean squared errors over d, all after the same n examples.

    Attributes:
        error: At the x of each example, by gap: the newest first.
        low: Lower ends of 95% bootstrap intervals over prompts.
        high: Upper ends.
        fresh: At a new x.
    """

    error: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    fresh: float


@dataclass(frozen=True)
class ForgettingCurves:
    """How well rows and algorithms answer for examples again, by how long ago those were given.

    Attributes:
        n: Examples given.
        n_prompts: Prompts.
        rows: Curve of each layer, by number, and of ``output``.
        algorithms: What rows are compared with.
        of_algorithms: Curve of each of them.
    """

    n: int
    n_prompts: int
    rows: Mapping[str, Curve]
    algorithms: tuple[Algorithm, ...]
    of_algorithms: tuple[Curve, ...]
