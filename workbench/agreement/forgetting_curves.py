"""Forgetting curves of every layer and of any algorithms."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.agreement.forgetting import algorithm_said_of_examples, said_of_examples, squared_errors_by_gap
from workbench.agreement.induced import prompts_with_queries
from workbench.agreement.measured import Algorithm, Curve, ForgettingCurves, MeasureConfig
from workbench.agreement.measuring import check_algorithms
from workbench.agreement.read_outs import ReadOuts
from workbench.agreement.readers import LayerReader, said_of_all
from workbench.agreement.scores import PromptScores
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer
from workbench.tasks import Task


def measure_forgetting(
    model: Transformer,
    task: Task,
    read_outs: ReadOuts | None,
    algorithms: Sequence[Algorithm],
    config: MeasureConfig | None = None,
    *,
    n: int | None = None,
    final_norm: bool = False,
) -> ForgettingCurves:
    """Forgetting curves of every layer, of the output and of some algorithms.

    Args:
        model: The model.
        task: Where prompts come from.
        read_outs: Read-outs of its layers; None for the output alone.
        algorithms: What to compare with.
        config: Settings: ``n_probe_prompts`` of them are run, with ``seed`` and ``n_resamples``.
        n: Examples given; d if None, as in the paper.
        final_norm: Whether the read-outs read the streams through the final norm.

    Raises:
        InputError: If a name or option is unknown, or the prompts are too short for a question after n examples.

    Source:
        Fu et al. 2024, arXiv:2310.17086, with n = d = 20.
    """
    config = config or MeasureConfig()
    check_algorithms(algorithms)
    batch, _ = prompts_with_queries(task, config.seed, "forgetting", config.n_probe_prompts, 1)
    n = batch.xs.shape[-1] if n is None else n
    read = LayerReader(model, read_outs, final_norm)
    own = read.suited(batch)
    again = said_of_examples(read, own, n).cpu()
    fresh = said_of_all(read, own.prefix(n + 1))[:, :, -1]
    curves = _curves(again, fresh, batch, config)
    of_algorithms = [_curve_of(algorithm, batch, n, config) for algorithm in algorithms]
    rows = dict(zip(read.names, curves))
    return ForgettingCurves(n, batch.n_batch, rows, tuple(algorithms), tuple(of_algorithms))


def _curve_of(algorithm: Algorithm, batch: RegressionBatch, n: int, config: MeasureConfig) -> Curve:
    steps = None if algorithm.step is None else [algorithm.step]
    options: dict[str, Any] = dict(algorithm.options)
    again = algorithm_said_of_examples(algorithm.name, batch, n, steps, **options)
    cut = batch.prefix(n + 1)
    fresh = baselines.predict(algorithm.name, cut.xs, cut.ys, steps, **options)[..., -1]
    [curve] = _curves(again.reshape(1, *again.shape[-2:]), fresh.reshape(1, -1), batch, config)
    return curve


def _curves(
    again: Float[Tensor, "row batch example"],
    fresh: Float[Tensor, "row batch"],
    batch: RegressionBatch,
    config: MeasureConfig,
) -> list[Curve]:
    n, d = again.shape[-1], batch.xs.shape[-1]
    errors = squared_errors_by_gap(again, batch.ys[:, :n], d)
    told = PromptScores.of(errors.mT[..., None]).summary(config.n_resamples, config.seed)
    at_fresh = (fresh.double() - batch.ys[:, n].double()).square().mean(-1) / d
    ends = (told.mean, told.low, told.high)
    return [Curve(*(tuple(end[row].tolist()) for end in ends), fresh=at_fresh[row].item()) for row in range(len(again))]
