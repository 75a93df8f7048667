"""Analyses on runs: computed once, kept in the run folder, read ever after."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.against_theory.config import TheoryConfig
from workbench.agreement.beside import best_steps
from workbench.agreement.config import AgreementConfig
from workbench.agreement.measured import Algorithm, MeasureConfig
from workbench.agreement.over_training import ANALYSIS as OVER_TRAINING
from workbench.agreement.over_training import kept_under, row_of, table_of, without_old_verdicts
from workbench.agreement.record import SCHEMA as AGREEMENT_SCHEMA
from workbench.configs import no_nan, to_data
from workbench.errors import InputError, must, refuse_faults
from workbench.opened import Run
from workbench.runs import result_key

Tell = Callable[[str], None]

AGREEMENT, MEASURES, FORGETTING, THEORY = "agreement", "measures", "forgetting", "theory"
MEASURES_SCHEMA, FORGETTING_SCHEMA = "mesascope/measures/1", "mesascope/forgetting/1"
AGREEMENT_CODE = 11
"""Raise when the same settings would give other numbers: kept results are then computed anew."""
THEORY_SCHEMA = "mesascope/theory/1"
_THEORY_CODE = 7


def agree(
    run: Run,
    config: AgreementConfig | None = None,
    step: int | None = None,
    tell: Tell | None = None,
    others: Sequence[Run] = (),
) -> dict[str, Any]:
    """The layer-by-layer agreement of a checkpoint with the reference algorithms, as the JSON output has it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        step: Checkpoint; the last one if None.
        tell: Told each stage as it starts; nothing for a kept result, nor for wrong input.
        others: Runs of other tasks whose models are further nulls of the verdict, at their last checkpoints.

    Raises:
        InputError: If the run has no such checkpoint, is damaged, or its task is no regression, or if another's model
            does not take its prompts.
    """
    config = config or AgreementConfig()
    step = run.folder.resolve_step(step)
    _refuse_misfits(run, others)
    beside = {other.folder.name: other.folder.weights_sha256(other.folder.resolve_step(None)) for other in others}
    key = result_key(
        {
            "analysis": AGREEMENT,
            "code": AGREEMENT_CODE,
            "schema": AGREEMENT_SCHEMA,
            "config": to_data(config),
            "weights": run.folder.weights_sha256(step),
            **({"others": beside} if beside else {}),
        }
    )
    kept = run.folder.result(AGREEMENT, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    record = no_nan(_agreement_record(run, config, step, tell, others))
    run.folder.save_result(AGREEMENT, key, record)
    return record


def _refuse_misfits(run: Run, others: Sequence[Run]) -> None:
    own = run.task().model_shape()
    refuse_faults(
        must(
            "null",
            f"be a run whose model takes {own.get('n_context')} examples of {own.get('d_input')} inputs",
            other.folder.name,
            shape.get("d_input") == own.get("d_input") and shape.get("n_context", 0) >= own.get("n_context", 0),
        )
        for other in others
        for shape in [other.task().model_shape()]
    )


def _agreement_record(
    run: Run, config: AgreementConfig, step: int, tell: Tell | None, others: Sequence[Run]
) -> dict[str, Any]:
    from workbench.agreement.layerwise import study

    task = run.task()
    strangers = {f"the model of {other.folder.name}": other.model() for other in others}
    found = study(run.model(step), run.untrained_model(), task, config, tell, strangers)
    raw, normed = to_data(found.raw), to_data(found.final_norm)
    shape = task.model_shape()
    return {
        "schema": AGREEMENT_SCHEMA,
        "run": run.folder.name,
        "checkpoint": step,
        "task": {"name": task.name, "label": task.label, **to_data(task)},
        "config": to_data(config),
        "others": [other.folder.name for other in others],
        "n_prompts": config.n_prompts,
        "d_input": shape["d_input"],
        "n_context": shape["n_context"],
        "scored_positions": list(found.scored_positions),
        "conventions": found.conventions,
        "warnings": list(found.warnings),
        "nearest_ridge": to_data(found.nearest_ridge),
        "model_error": list(found.model_error),
        "reference_error": to_data(found.reference_error),
        "layers": raw["layers"],
        "trend": raw["trend"],
        "verdict": raw["verdict"],
        "fingerprint": raw["fingerprint"],
        "final_norm": normed,
    }


def agreements(run: Run, config: AgreementConfig | None = None) -> list[dict[str, Any]]:
    """Kept agreement records of a run, by checkpoint; only those of the given settings unless None.

    Those with models of other tasks as nulls are left out: they are the same but for the verdict.
    """
    kept = [r for r in run.folder.results(AGREEMENT) if r.get("schema") == AGREEMENT_SCHEMA and not r.get("others")]
    if config is not None:
        kept = [r for r in kept if r["config"] == to_data(config)]
    return sorted(kept, key=lambda r: r["checkpoint"])


def over_training(
    run: Run,
    config: AgreementConfig | None = None,
    steps: Sequence[int] | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """The agreement of many checkpoints as one table; what was found of checkpoints that are gone stays in it.

    Kept after every checkpoint, and each checkpoint's own record as well: what was interrupted goes on where it was.
    A run whose weights came without their history, as from the zoo, may have come with the table of it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        steps: Checkpoints; all if None.
        tell: Told each stage of each checkpoint as it starts; nothing for kept ones.

    Raises:
        InputError: As `agree`.
    """
    config = config or AgreementConfig()
    folder = run.folder
    wanted = folder.checkpoint_steps() if steps is None else [folder.resolve_step(step) for step in sorted(set(steps))]
    table = kept_over_training(run, config)
    rows = {row["checkpoint"]: row for row in table["rows"]} if table else {}
    if folder.origin is not None:  # what came along was measured before weights were rounded
        wanted = [step for step in wanted if step not in rows or rows[step]["verdict"] is None]
    for place, step in enumerate(wanted, 1):
        record = agree(run, config, step, _with_place(tell, f"checkpoint {place} of {len(wanted)}, step {step}: "))
        row = row_of(record, folder.weights_sha256(step), AGREEMENT_CODE)
        if rows.get(step) != row:
            rows[step] = row
            table = no_nan(table_of(record, rows.values()))
            folder.save_result(OVER_TRAINING, kept_under(to_data(config)), table)
    if table is None:
        folder.resolve_step(None)  # refuses a run without checkpoints
        raise InputError("steps must name at least one checkpoint; got none.")
    return table


def _with_place(tell: Tell | None, place: str) -> Tell | None:
    return None if tell is None else lambda stage: tell(place + stage)


def with_current_verdicts(table: Mapping[str, Any]) -> dict[str, Any]:
    """A kept table over training as it is told today: null for verdicts of older rules."""
    return without_old_verdicts(table, AGREEMENT_CODE)


def kept_over_training(run: Run, config: AgreementConfig | None = None) -> dict[str, Any] | None:
    """The kept table over training of these settings, the defaults if None; no verdicts of older rules."""
    kept = run.folder.result(OVER_TRAINING, kept_under(to_data(config or AgreementConfig())))
    if kept is None:
        return None
    return {**with_current_verdicts(kept), "run": run.folder.name}


def measures(
    run: Run,
    config: AgreementConfig | None = None,
    step: int | None = None,
    tell: Tell | None = None,
    *,
    final_norm: bool = False,
    settings: MeasureConfig | None = None,
) -> dict[str, Any]:
    """Every measure of every layer of a checkpoint against a few algorithms, each near the layer by its record.

    Args:
        run: The run.
        config: Settings of the agreement record, whose best steps the algorithms take and whose read-outs are used.
        step: Checkpoint; the last one if None.
        tell: Told each stage as it starts; nothing for kept results.
        final_norm: Whether layers are read through the final norm.
        settings: How layers are measured; the defaults if None.

    Raises:
        InputError: As `agree`.
    """
    return _beside(_MEASURES, run, config, step, tell, final_norm, settings)


def forgetting(
    run: Run,
    config: AgreementConfig | None = None,
    step: int | None = None,
    tell: Tell | None = None,
    *,
    final_norm: bool = False,
    settings: MeasureConfig | None = None,
) -> dict[str, Any]:
    """How well every layer of a checkpoint answers for examples again, beside a few algorithms; else as `measures`."""
    return _beside(_FORGETTING, run, config, step, tell, final_norm, settings)


@dataclass(frozen=True)
class _Kind:
    """What is measured beside an agreement record, and what computes it."""

    name: str
    schema: str
    code: int
    compute: Callable[..., Any]


def _compute_measures(*known: Any, final_norm: bool, tell: Tell | None) -> Any:
    from workbench.agreement.measuring import measure_layers

    return measure_layers(*known, final_norm=final_norm, tell=tell)


def _compute_forgetting(*known: Any, final_norm: bool, tell: Tell | None) -> Any:
    from workbench.agreement.forgetting_curves import measure_forgetting

    if tell is not None:
        tell("asking every layer for each example again")
    return measure_forgetting(*known, final_norm=final_norm)


_MEASURES = _Kind(MEASURES, MEASURES_SCHEMA, 2, _compute_measures)
_FORGETTING = _Kind(FORGETTING, FORGETTING_SCHEMA, 2, _compute_forgetting)


def _beside(
    kind: _Kind,
    run: Run,
    config: AgreementConfig | None,
    step: int | None,
    tell: Tell | None,
    final_norm: bool,
    settings: MeasureConfig | None,
) -> dict[str, Any]:
    """What is measured beside an agreement record, by the same read-outs."""
    config, settings = config or AgreementConfig(), settings or MeasureConfig()
    record = agree(run, config, step, tell)
    step = int(record["checkpoint"])
    final_norm = final_norm and bool(record["final_norm"])
    best = best_steps(record["final_norm"] if final_norm else record)
    against = tuple(_algorithms(run, best, config))
    key = result_key(
        {
            "analysis": kind.name,
            "code": kind.code,
            "schema": kind.schema,
            "agreement": to_data(config),
            "algorithms": to_data(against),
            "best_steps": best,
            "final_norm": final_norm,
            "config": to_data(settings),
            "weights": run.folder.weights_sha256(step),
        }
    )
    kept = run.folder.result(kind.name, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    from workbench.agreement.layerwise import fit_read_outs

    if tell is not None:
        tell("fitting the read-outs of every layer")
    model, task = run.model(step), run.task()
    read_outs = fit_read_outs(model, task, config)["final_norm" if final_norm else "raw"]
    found = to_data(kind.compute(model, task, read_outs, against, settings, final_norm=final_norm, tell=tell))
    head = {"schema": kind.schema, "run": run.folder.name, "checkpoint": step, "final_norm": final_norm}
    told = no_nan({**head, "best_steps": best, **found})
    run.folder.save_result(kind.name, key, told)
    return told


def _algorithms(run: Run, best: Mapping[str, Sequence[int]], config: AgreementConfig) -> Iterator[Algorithm]:
    """Anchors, then iterative algorithms at the best steps of all layers."""
    yield Algorithm("zero")
    yield Algorithm("ols")
    strength = run.task().bayes_ridge()
    if strength:
        yield Algorithm("ridge", options={"ridge": float(strength)})
    for name, steps in best.items():
        for step in sorted({*steps} - {0}):
            yield Algorithm(name, step, config.options(name))


def theory(
    run: Run, config: TheoryConfig | None = None, step: int | None = None, tell: Tell | None = None
) -> dict[str, Any]:
    """A checkpoint against every closed form: which apply, what they say, what is measured; as the JSON output has it.

    Args:
        run: The run.
        config: Settings; the defaults if None.
        step: Checkpoint; the last one if None. Those before it are what is shown over training.
        tell: Told each stage as it starts; nothing for a kept result.

    Raises:
        InputError: If the run has no such checkpoint or is damaged.
    """
    config = config or TheoryConfig()
    step = run.folder.resolve_step(step)
    key = result_key(
        {
            "analysis": THEORY,
            "code": _THEORY_CODE,
            "schema": THEORY_SCHEMA,
            "config": to_data(config),
            "weights": run.folder.weights_sha256(step),
            "step": step,
        }
    )
    kept = run.folder.result(THEORY, key)
    if kept is not None:
        return {**kept, "run": run.folder.name}
    from workbench.against_theory.record import to_record
    from workbench.against_theory.study import study

    task = run.task()
    earlier = [kept for kept in run.folder.checkpoint_steps() if kept <= step]
    shown = _spread(earlier, config.n_checkpoints)
    models = ((each, run.model(each).cpu()) for each in shown)  # small models in float64: a CPU serves
    found = study(run.model(step).cpu(), run.untrained_model().cpu(), task, config, models, tell)
    head = {"schema": THEORY_SCHEMA, "run": run.folder.name, "checkpoint": step, "config": to_data(config)}
    about = {"task": {"name": task.name, "label": task.label, **to_data(task)}, "n_prompts": config.n_prompts}
    told = no_nan({**head, **about, **to_record(found)})
    run.folder.save_result(THEORY, key, told)
    return told


def _spread(steps: Sequence[int], at_most: int) -> list[int]:
    """At most so many of the steps, evenly from the first to the last."""
    if len(steps) <= at_most:
        return list(steps)
    if at_most < 2:
        return list(steps[-1:]) * at_most
    return [steps[round(i * (len(steps) - 1) / (at_most - 1))] for i in range(at_most)]
