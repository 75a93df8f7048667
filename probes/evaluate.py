"""The whole study: every target at every site by every method, each score beside what it is worth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes.columns import is_classes
from probes.config import ProbeConfig
from probes.examples import Examples, Seen
from probes.linear import linear_outcomes
from probes.material import Material, gather, regression_prompts
from probes.methods import PROBES
from probes.outcome import Outcome, Outcomes
from probes.places import Group, groups
from probes.record import Probe, ProbeScore, ProbeTarget
from probes.scores import Scored, mean_with_interval, r2, score_classes, score_numbers
from probes.sites import COMPONENTS, EMBED
from probes.targets import find_target
from probes.trained import trained_outcomes
from workbench.errors import InputError
from workbench.models.transformer import Transformer
from workbench.registry import find
from workbench.tasks import Task

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Models:
    """What is probed, and what is probed beside it.

    Attributes:
        trained: The model in question.
        untrained: The same architecture before training.
        control: A model of the same architecture that was trained on something else, such as one w for all prompts.
    """

    trained: Transformer
    untrained: Transformer
    control: Transformer | None = None


@dataclass(frozen=True)
class Pooling:
    """Which tokens a pooling probe reads.

    Attributes:
        component: As of the score.
        layer: As of the score.
        n_context: Examples seen.
        target: What was looked for.
        method: How.
        shares: Of every token up to the one read, adding up to 1.
    """

    component: str
    layer: int
    n_context: int | None
    target: str
    method: str
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        scores: One for every target, method, group of places and site.
        poolings: Which tokens pooling probes read.
    """

    scores: tuple[ProbeScore, ...]
    poolings: tuple[Pooling, ...]


def evaluate(models: Models, task: Task, config: ProbeConfig, tell: Tell | None = None) -> Findings:
    """Probe a model for every target by every method, with all controls.

    Probes are fitted on one set of prompts and scored on another; prompts of a set have their own w.

    Args:
        models: The model and its controls.
        task: Where the prompts come from.
        config: Settings.
        tell: Told each stage as it starts.

    Raises:
        InputError: If a name is unknown, a target is not there or the same for all prompts, a place is not in the
            prompt, there are too few prompts, or activations are not finite.
    """
    tell = tell or _tell_nobody
    targets = [find_target(name) for name in config.targets]
    methods = [find(PROBES, name, "probe") for name in config.methods]
    model = models.trained
    _check_alike(model, models.control)
    shape = task.model_shape()
    if "d_input" not in shape or "n_context" not in shape:
        raise InputError(f"probes need prompts of (x, y) examples; task {task.name!r} has tokens.")
    places = groups(config, shape["d_input"], shape["n_context"], causal=model.plan.causal)
    few = regression_prompts(task, config.seed, "probe", 2)
    kinds = {target.name: is_classes(target, few, task, places[-1]) for target in targets}
    _check_kinds(kinds, methods)
    scores: list[ProbeScore] = []
    poolings: list[Pooling] = []
    for classes in (False, True):
        own = [target for target in targets if kinds[target.name] == classes]
        if not own:
            continue
        tell(f"computing {', '.join(target.name for target in own)}")
        material = gather(task, own, places, (*config.components, EMBED), config)
        ceilings = _ceilings(material, task, own)
        for method in (method for method in methods if (method.says == "classes") == classes):
            found = _all_models(models, material, method, tell)
            tell(f"scoring {method.name}")
            scores += _scores(model, material, method, found, ceilings)
            poolings += _poolings(model, material, method, found[0])
    return Findings(tuple(sorted(scores, key=_order(config))), tuple(poolings))


def _tell_nobody(stage: str) -> None:  # a listener that does not listen
    pass


def _check_alike(model: Transformer, control: Transformer | None) -> None:
    if control is None:
        return
    same = ("n_layers", "d_model", "n_heads", "d_input", "n_context", "layout", "causal", "mlp")
    other = [name for name in same if getattr(model.config, name) != getattr(control.config, name)]
    if other:
        raise InputError(
            f"control must be of the same architecture; it differs in {', '.join(other)}. Train one of RUN's config."
        )


def _check_kinds(kinds: dict[str, bool], methods: list[Probe]) -> None:
    for name, classes in kinds.items():
        says = "classes" if classes else "numbers"
        if not any(method.says == says for method in methods):
            fitting = ", ".join(probe.name for probe in PROBES.values() if probe.says == says)
            raise InputError(f"methods must hold one for {says}, which target {name!r} has; known: {fitting}.")


def _all_models(
    models: Models, material: Material, method: Probe, tell: Tell
) -> tuple[Outcomes, Outcomes, Outcomes | None]:
    def run(model: Transformer, *, controls: bool) -> Outcomes:
        if method.name == "ridge":
            return linear_outcomes(model, material, controls=controls)
        return trained_outcomes(method, model, material, controls=controls)

    tell(f"fitting {method.name} to the model")
    trained = run(models.trained, controls=True)
    tell(f"fitting {method.name} to the untrained model")
    untrained = run(models.untrained, controls=False)
    if models.control is None:
        return trained, untrained, None
    tell(f"fitting {method.name} to the control model")
    return trained, untrained, run(models.control, controls=False)


def _ceilings(material: Material, task: Task, targets: list[ProbeTarget]) -> list[dict[str, float | None]]:
    """The best score any function of the prompt reaches, by group and target."""
    found: list[dict[str, float | None]] = []
    for group, columns in zip(material.groups, material.test_columns, strict=True):
        examples = Examples(material.test, task, material.config.scale)
        found.append({each.name: _ceiling(each, examples, group, columns.part(each.name)) for each in targets})
    return found


def _ceiling(target: ProbeTarget, examples: Examples, group: Group, truth: Tensor) -> float | None:
    if target.from_prompt:
        return 1.0
    assert target.best is not None
    guesses = [target.best(Seen(examples, place.n_seen, place.position)) for place in group.places]
    known = [guess for guess in guesses if guess is not None]
    if len(known) < len(guesses):
        return None
    return r2(torch.stack(known, 1)[None], truth).item()


def _scores(
    model: Transformer,
    material: Material,
    method: Probe,
    found: tuple[Outcomes, Outcomes, Outcomes | None],
    ceilings: list[dict[str, float | None]],
) -> Iterator[ProbeScore]:
    trained, untrained, control = found
    for index in range(len(material.groups)):
        for name in material.fit_columns[index].parts:
            for component in material.config.components:
                beside = [
                    None if each is None else _plain(each[index][component][name], material, index, name, method)
                    for each in (untrained, control)
                ]
                embedding = _plain(trained[index][EMBED][name], material, index, name, method)
                yield from _of_component(
                    model,
                    material,
                    method,
                    (index, component, name),
                    trained[index][component][name],
                    (beside[0], embedding, beside[1], ceilings[index][name]),
                )


def _plain(outcome: Outcome, material: Material, index: int, name: str, method: Probe) -> Float[Tensor, " site"]:
    truth = material.test_columns[index].part(name)
    if method.says == "classes":
        return (outcome.said == truth).double().mean((1, 2, 3))
    return r2(outcome.said, truth)


def _of_component(
    model: Transformer,
    material: Material,
    method: Probe,
    what: tuple[int, str, str],
    outcome: Outcome,
    beside: tuple[Tensor | None, Tensor, Tensor | None, float | None],
) -> Iterator[ProbeScore]:
    index, component, name = what
    untrained, embedding, control, ceiling = beside
    scored = _scored(outcome, material, index, name, method)
    bits = _told_bits(outcome, material.config)
    group = material.groups[index]
    for site, at in enumerate(COMPONENTS[component].sites(model)):
        score = scored.score[site].item()
        yield ProbeScore(
            component=at.component,
            layer=at.layer,
            head=at.head,
            hook=at.hook,
            reading="pooled" if method.pools else material.config.reading,
            position=group.position,
            n_context=group.n_context,
            target=name,
            method=method.name,
            measure="accuracy" if method.says == "classes" else "r2",
            score=score,
            ci=scored.ci[site],
            p_value=scored.p_value[site].item(),
            shuffled=outcome.shuffled[site].mean().item(),
            shuffled_max=outcome.shuffled[site].max().item(),
            selectivity=score - outcome.matched[site].mean().item(),
            untrained=float("nan") if untrained is None else untrained[site].item(),
            embedding=embedding[0].item(),
            control=None if control is None else control[site].item(),
            control_task=None if outcome.by_type is None else outcome.by_type[site].item(),
            ceiling=ceiling,
            cosine=_number(scored.cosine[site]),
            mse=_number(scored.mse[site]),
            **bits[site],
            strength=None if outcome.strengths is None else outcome.strengths[site].item(),
            n_features=outcome.n_features,
        )


def _scored(outcome: Outcome, material: Material, index: int, name: str, method: Probe) -> Scored:
    config, truth = material.config, material.test_columns[index].part(name)
    resampling = {
        "n_resamples": config.n_resamples,
        "n_permutations": config.n_permutations,
        "seed": config.seed,
    }
    if method.says == "classes":
        return score_classes(outcome.said[..., 0].long(), truth[..., 0].long(), **resampling)
    return score_numbers(outcome.said, truth, **resampling)


def _told_bits(outcome: Outcome, config: ProbeConfig) -> list[dict[str, Any]]:
    """The bits of every site, by the names of a score."""
    bits = outcome.bits
    assert bits is not None, "bits of a model in question are measured"
    resampling = {"n_resamples": config.n_resamples, "seed": config.seed}
    mean, intervals = mean_with_interval(bits.held_out.mean(2), **resampling)
    by_site = {
        "v_information": mean,
        "v_information_shuffled": bits.shuffled,
        "v_information_control_task": bits.by_type,
        "code_length_saved": bits.saved,
        "code_length_saved_shuffled": bits.saved_shuffled,
        "code_length_saved_control_task": bits.saved_by_type,
        "code_length": bits.online,
    }
    same = {"code_length_marginal": bits.marginal, "code_length_uniform": bits.uniform}
    return [
        {name: None if each is None else each[site].item() for name, each in by_site.items()}
        | {"v_information_ci": interval}
        | same
        for site, interval in enumerate(intervals)
    ]


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


def _poolings(model: Transformer, material: Material, method: Probe, trained: Outcomes) -> Iterator[Pooling]:
    for group, by_component in zip(material.groups, trained, strict=True):
        for component in material.config.components:
            for name, outcome in by_component[component].items():
                if outcome.pooling is not None:
                    for site, at in enumerate(COMPONENTS[component].sites(model)):
                        shares = tuple(outcome.pooling[site].tolist())
                        yield Pooling(component, at.layer, group.n_context, name, method.name, shares)


def _order(config: ProbeConfig) -> Callable[[ProbeScore], tuple[int, ...]]:
    """By target, method, component, place, layer and head."""
    return lambda s: (
        config.targets.index(s.target),
        config.methods.index(s.method),
        config.components.index(s.component),
        -1 if s.position is None else s.position,
        s.layer,
        -1 if s.head is None else s.head,
    )
