"""Every closed form against one model: which apply, what they say, what is measured."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from workbench.against_theory.between import Between, between
from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.copying import Copying, at_checkpoint, compare_copying, copying, has_pairs
from workbench.against_theory.curves import MeasuredCurve, ModelCurves
from workbench.against_theory.observed import Observed, drawn, observe
from workbench.against_theory.of_features import compare_features
from workbench.against_theory.of_sequences import compare_sequence
from workbench.against_theory.of_steps import compare_head, compare_scalar, compare_shrinking, compare_steps, signed
from workbench.against_theory.of_tasks import compare_tasks
from workbench.against_theory.one_step import compare, fit, relative_error
from workbench.against_theory.predictions import compare_gradients, compare_predictions
from workbench.against_theory.predictors import Predicting, predictor
from workbench.against_theory.roll_out import RolledOut, roll_out
from workbench.against_theory.row import Row
from workbench.against_theory.shifts import Shifted, shifts
from workbench.models.config import TransformerConfig
from workbench.models.transformer import Transformer
from workbench.regression_law import (
    AutoregressiveLaw,
    Described,
    DescribedByFunctions,
    DescribedByLabel,
    RegressionLaw,
)
from workbench.tasks import Task
from workbench.tasks.facts import Known
from workbench.theory import (
    CLOSED_FORMS,
    ClosedForm,
    Curve,
    OneStep,
    OnFeatures,
    Scalar,
    SequenceStep,
    Setting,
    ShrinkingSteps,
    SoftmaxHead,
    Steps,
    TaskSteps,
)
from workbench.theory.record import Says
from workbench.weights import (
    Pattern,
    Products,
    Spectra,
    Update,
    fold_fault,
    implied_updates,
    layer_weights,
    patterns,
    products,
    spectra,
)

Tell = Callable[[str], None]
Line = dict[str, Any]
_N_STEPS = 4000
"""Prompts from which steps of layers are told."""


@dataclass(frozen=True)
class Compared:
    """One closed form and what came of it.

    Attributes:
        name: Its registry name.
        fault: The assumption that fails, "" where it applies.
        rows: Theory beside measurement.
        curve: The same along a curve, or None.
        between: Models between the trained one and the one that it builds, or None.
        shifted: Model and theory's predictor on other prompts than those of training.
        rolled_out: The layer applied again and again, or None.
    """

    name: str
    fault: str
    rows: tuple[Row, ...] = ()
    curve: MeasuredCurve | None = None
    between: Between | None = None
    shifted: tuple[Shifted, ...] = ()
    rolled_out: RolledOut | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """All that is told of a model.

    Attributes:
        compared: Every closed form, in the order of the registry.
        gamma: Theory's Gamma and that of the model by behaviour, or None where no closed form has one.
        products: Folded weights, or None.
        patterns: Their patterns; none without products.
        spectra: Their spectra, or None without products.
        implied: The step that each layer takes by what it says, where layers are linear attention on whole examples.
        unfolded: Why there are no folded weights, or "".
        over_training: By checkpoint, ``step``, ``excess``, the same of the predictors ``theory`` and ``zero`` on the
            same prompts, ``nmse``, ``gamma_error`` where theory has a Gamma, else None, and what
            ``copying.at_checkpoint`` tells where a first layer copies. Empty where theory says no more than curves.
        copying: Attention between the tokens of an example, where inputs and labels are tokens of their own, else None.
    """

    compared: tuple[Compared, ...]
    gamma: tuple[torch.Tensor, torch.Tensor] | None
    products: Products | None
    patterns: tuple[Pattern, ...]
    unfolded: str
    over_training: tuple[Line, ...] = field(default=())
    copying: Copying | None = None
    spectra: Spectra | None = None
    implied: tuple[Update, ...] = ()


def setting_of(task: Task, model: TransformerConfig) -> Setting:
    """What closed forms are asked of a run."""
    return Setting(
        task.law() if isinstance(task, Described) else None,
        model,
        task.name,
        task.facts() if isinstance(task, Known) else (),
        task.laws() if isinstance(task, DescribedByLabel) else (),
        task.function_law() if isinstance(task, DescribedByFunctions) else None,
    )


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
    is_described = any(not isinstance(said, Curve) for said in says.values())
    if is_described:
        model, untrained = model.double(), untrained.double()
    of_one_label = is_described and isinstance(setting.law, RegressionLaw) and not setting.laws
    seen = observe(model, drawn(task, config.n_prompts, config.seed)) if of_one_label else None
    before = None if seen is None else observe(untrained, seen.batch)
    copied = _copying(model, untrained, task, config, seen)
    curves = ModelCurves(model, task, config)
    measured = _Measured(setting, task, model, untrained, seen, before, copied, curves, config)
    compared = []
    for name, form in CLOSED_FORMS.items():
        if tell is not None and name in says:
            tell(f"measuring {form.label.lower()}")
        fault = form.fault(setting)
        compared.append(Compared(name, fault) if fault else measured.compared(form, says[name]))
    folded = "" if model.config.layout == "pairs" else "model.layout must be 'pairs' for tokens (x, y)"
    folded = folded or fold_fault(model)
    if tell is not None and seen is not None:
        tell("measuring every checkpoint")
    best = _best(says)
    return Study(
        tuple(compared),
        _gamma(best, seen),
        None if folded else products(model),
        () if folded else tuple(patterns(model, seed=config.seed)),
        folded,
        tuple(_at_checkpoint(step, each, best, setting, task, config) for step, each in checkpoints) if seen else (),
        copied,
        None if folded else spectra(model, seed=config.seed),
        _implied(model, seen),
    )


def _implied(model: Transformer, seen: Observed | None) -> tuple[Update, ...]:
    """The updates p <- p - A X^T(Xp - y)/n of a model whose layers hold weights."""
    c = model.config
    holds = c.attention == "linear" and c.layout == "pairs" and not c.causal and not c.query_in_keys
    if seen is None or not holds or c.mlp != "none" or c.norm != "none" or c.first_attention is not None:
        return ()
    part = seen.batch.prompts(0, _N_STEPS)
    return tuple(implied_updates(layer_weights(model, part), part))


def _copying(
    model: Transformer, untrained: Transformer, task: Task, config: TheoryConfig, seen: Observed | None
) -> Copying | None:
    if not has_pairs(model.config):
        return None
    batch = drawn(task, config.n_curve, config.seed) if seen is None else seen.batch
    return copying(model, untrained, batch, config)


def _best(says: Mapping[str, Says]) -> Predicting | None:
    """What theory says of predictions, the least risk where it says several things."""
    told = [said for said in says.values() if isinstance(said, Predicting)]
    return min(told, key=lambda said: said.excess, default=None)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What all comparisons of a study share."""

    setting: Setting
    task: Task
    model: Transformer
    untrained: Transformer
    seen: Observed | None
    before: Observed | None
    copied: Copying | None
    curves: ModelCurves
    config: TheoryConfig

    def compared(self, form: ClosedForm, said: Says) -> Compared:
        """One closed form against the model."""
        model, untrained, task, config = self.model, self.untrained, self.task, self.config
        law = self.setting.law if isinstance(self.setting.law, RegressionLaw) else None
        if isinstance(said, Curve):
            return Compared(form.name, "", curve=self.curves.compare(said))
        if isinstance(said, Scalar):
            return Compared(form.name, "", tuple(compare_scalar(said, model, self.seen, law, config)))
        if isinstance(said, OnFeatures):
            assert self.seen is not None, "functions with one label were observed"
            assert self.before is not None, "functions with one label were observed"
            rows = compare_features(said, model, untrained, self.seen, self.before, config)
            return Compared(form.name, "", tuple(rows))
        if isinstance(said, TaskSteps):
            return Compared(form.name, "", tuple(compare_tasks(said, model, untrained, task, config)))
        if isinstance(said, SequenceStep):
            is_complex = isinstance(self.setting.law, AutoregressiveLaw) and self.setting.law.is_complex
            rows = compare_sequence(said, model, untrained, task, config, is_complex=is_complex)
            return Compared(form.name, "", tuple(rows))
        return self._predicting(form, said)

    def _predicting(self, form: ClosedForm, said: Predicting) -> Compared:
        model, config, law = self.model, self.config, self.setting.regression
        seen, before = self.seen, self.before
        assert seen is not None, "a regression with one label was observed"
        assert before is not None, "a regression with one label was observed"
        predict = predictor(_of_signs(said, model), law)
        rows = list(self._own_rows(said, seen, before))
        if predict is not None and not isinstance(said, OneStep):
            rows += compare_predictions(predict(seen.batch), said.excess, seen, before, config)
            rows += compare_gradients(predict, model, self.untrained, seen, config)
        if self.copied is not None:
            rows += compare_copying(self.copied)
        return Compared(
            form.name,
            "",
            tuple(rows),
            between=None if isinstance(said, SoftmaxHead) else between(said, self.setting, model, seen),
            shifted=() if predict is None else shifts(predict, model, self.task, law, config),
            rolled_out=roll_out(said, model, seen) if isinstance(said, OneStep) else None,
        )

    def _own_rows(self, said: Predicting, seen: Observed, before: Observed) -> Iterable[Row]:
        model, law, config = self.model, self.setting.regression, self.config
        if isinstance(said, OneStep):
            return compare(said, model, self.untrained, seen, before, law, config)
        if isinstance(said, Steps):
            return compare_steps(said, model, seen, law, config)
        if isinstance(said, ShrinkingSteps):
            return compare_shrinking(said, model, law)
        return compare_head(said, model)


def _of_signs(said: Predicting, model: Transformer) -> Predicting:
    return signed(said, model) if isinstance(said, SoftmaxHead) else said


def _gamma(said: Predicting | None, seen: Observed | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    if not isinstance(said, OneStep) or seen is None:
        return None
    fitted = fit(seen, centred=said.centred)
    even = torch.full((len(fitted.said),), 1 / len(fitted.said), dtype=torch.float64)
    return said.gamma, fitted.gamma(even)


def _at_checkpoint(
    step: int, model: Transformer, said: Predicting | None, setting: Setting, task: Task, config: TheoryConfig
) -> Line:
    """How far a checkpoint is from theory, on the same prompts for all."""
    seen = observe(model.double(), drawn(task, config.n_curve, config.seed, "theory training"))
    found: Line = {"step": step, "excess": float((seen.said - seen.truth).square().mean())}
    found |= {"zero": float(seen.truth.square().mean()), "theory": None}
    found |= {"gamma_error": None, "nmse": None, "partner": None}
    predict = None if said is None else predictor(_of_signs(said, model), setting.regression)
    if predict is not None:
        told = predict(seen.batch)
        found["theory"] = float((told - seen.truth).square().mean())
        found["nmse"] = float((seen.said - told).square().mean() / told.square().mean())
    gammas = _gamma(said, seen)
    if gammas is not None:
        found["gamma_error"] = float(relative_error(gammas[1], gammas[0]))
    if has_pairs(model.config):
        found |= at_checkpoint(model, seen.batch)
    return found
