"""Every closed form against one model: which apply, what they say, what is measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from workbench.against_theory.between import Between, between
from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.curves import MeasuredCurve, ModelCurves
from workbench.against_theory.observed import Observed, drawn, observe
from workbench.against_theory.of_steps import compare_scalar, compare_steps
from workbench.against_theory.one_step import compare, fit, prediction, relative_error
from workbench.against_theory.row import Row
from workbench.models.config import TransformerConfig
from workbench.models.transformer import Transformer
from workbench.regression_law import Described, RegressionLaw
from workbench.tasks import Task
from workbench.theory import CLOSED_FORMS, ClosedForm, Curve, OneStep, Scalar, Setting, Steps
from workbench.weights import Pattern, Products, fold_fault, patterns, products

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Compared:
    """One closed form and what came of it.

    Attributes:
        name: Its registry name.
        fault: The assumption that fails, "" where it applies.
        rows: Theory beside measurement.
        curve: The same along a curve, or None.
        between: Models between the trained one and the one that it builds, or None.
    """

    name: str
    fault: str
    rows: tuple[Row, ...] = ()
    curve: MeasuredCurve | None = None
    between: Between | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """All that is told of a model.

    Attributes:
        compared: Every closed form, in the order of the registry.
        gamma: Theory's Gamma and that of the model by behaviour, or None where no closed form has one.
        products: Folded weights, or None.
        patterns: Their patterns; none without products.
        unfolded: Why there are no folded weights, or "".
        over_training: By checkpoint, ``step``, ``gamma_error``, ``nmse``, ``excess``; None where theory has no Gamma.
            Empty where theory says no more than risk curves.
    """

    compared: tuple[Compared, ...]
    gamma: tuple[torch.Tensor, torch.Tensor] | None
    products: Products | None
    patterns: tuple[Pattern, ...]
    unfolded: str
    over_training: tuple[dict[str, float | int | None], ...] = field(default=())


def setting_of(task: Task, model: TransformerConfig) -> Setting:
    """What closed forms are asked of a run."""
    return Setting(task.law() if isinstance(task, Described) else None, model, task.name)


def study(
    model: Transformer,
    untrained: Transformer,
    task: Task,
    config: TheoryConfig,
    checkpoints: Iterable[tuple[int, Transformer]] = (),
    tell: Tell | None = None,
) -> Study:
    """Hold a model against every closed form.

    Args:
        model: The trained model; it is made float64, as are all others, where theory says more than risk curves.
        untrained: The same before training.
        task: What it was trained on.
        config: Settings.
        checkpoints: Steps and models over training.
        tell: Told each stage.
    """
    setting = setting_of(task, model.config)
    says = {name: form(setting) for name, form in CLOSED_FORMS.items() if not form.fault(setting)}
    is_described = any(isinstance(said, OneStep | Steps | Scalar) for said in says.values())
    if is_described:
        model, untrained = model.double(), untrained.double()
    of_regression = isinstance(setting.law, RegressionLaw) and is_described
    seen = observe(model, drawn(task, config.n_prompts, config.seed)) if of_regression else None
    curves = ModelCurves(model, task, config)
    compared = []
    for name, form in CLOSED_FORMS.items():
        if tell is not None and name in says:
            tell(f"measuring {form.label.lower()}")
        if name in says:
            compared.append(_compared(form, says[name], setting, model, untrained, seen, curves, config))
        else:
            compared.append(Compared(name, form.fault(setting)))
    said_one = next((said for said in says.values() if isinstance(said, OneStep)), None)
    folded = "" if model.config.layout == "pairs" else "model.layout must be 'pairs' for tokens (x, y)"
    folded = folded or fold_fault(model)
    if tell is not None and seen is not None:
        tell("measuring every checkpoint")
    return Study(
        tuple(compared),
        _gamma(said_one, seen),
        None if folded else products(model),
        () if folded else tuple(patterns(model, seed=config.seed)),
        folded,
        tuple(_at_checkpoint(step, each, said_one, task, config) for step, each in checkpoints) if seen else (),
    )


def _compared(
    form: ClosedForm,
    said: OneStep | Steps | Curve | Scalar,
    setting: Setting,
    model: Transformer,
    untrained: Transformer,
    seen: Observed | None,
    curves: ModelCurves,
    config: TheoryConfig,
) -> Compared:
    law = setting.law if isinstance(setting.law, RegressionLaw) else None
    if isinstance(said, Curve):
        return Compared(form.name, "", curve=curves.compare(said))
    if isinstance(said, Scalar):
        return Compared(form.name, "", tuple(compare_scalar(said, model, seen, law, config)))
    assert law is not None, "steps are told of regressions alone"
    assert seen is not None, "a regression was observed"
    way = between(said, setting, model, seen)
    if isinstance(said, Steps):
        return Compared(form.name, "", tuple(compare_steps(said, model, seen, law, config)), between=way)
    before = observe(untrained, seen.batch)
    return Compared(form.name, "", tuple(compare(said, model, untrained, seen, before, law, config)), between=way)


def _gamma(said: OneStep | None, seen: Observed | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    if said is None or seen is None:
        return None
    fitted = fit(seen, centred=said.centred)
    even = torch.full((len(fitted.said),), 1 / len(fitted.said), dtype=torch.float64)
    return said.gamma, fitted.gamma(even)


def _at_checkpoint(
    step: int, model: Transformer, said: OneStep | None, task: Task, config: TheoryConfig
) -> dict[str, float | int | None]:
    """How far a checkpoint is from theory, on the same prompts for all."""
    seen = observe(model.double(), drawn(task, config.n_curve, config.seed, "theory training"))
    found: dict[str, float | int | None] = {"step": step, "excess": float((seen.said - seen.truth).square().mean())}
    if said is None:
        return {**found, "gamma_error": None, "nmse": None}
    theory, fitted = _gamma(said, seen) or (said.gamma, said.gamma)
    told = prediction(said, seen)
    nmse = float((seen.said - told).square().mean() / told.square().mean())
    return {**found, "gamma_error": float(relative_error(fitted, theory)), "nmse": nmse}
