"""Induced weights: the linear function that a predictor is, as far as it is one, of the query."""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.readers import LayerReader
from workbench.asking import N_ASKED, Queries, ask, passes, streams_asked
from workbench.batch import RegressionBatch
from workbench.errors import InputError, must, refuse_faults
from workbench.tasks import Task

QUERIES_PER_INPUT = 3
"""Fresh queries, in multiples of d, that induced weights are fitted on by default."""


@dataclass(frozen=True, eq=False)
class Induced:
    """Linear fits to what predictors say of fresh queries, at every prefix.

    Attributes:
        weights: Of the fits, in units of y over x.
        linearity: R^2 of each fit, the share of the squares of what is said that it explains, in [0, 1]: 1 for a
            linear predictor. NaN where nothing but 0 is said.
    """

    weights: Float[Tensor, "*row batch context d_input"]
    linearity: Float[Tensor, "*row batch context"]


def fit_weights(values: Float[Tensor, "*row batch context n_query"], queries: Queries) -> Induced:
    """The weights that explain best, by least squares without intercept, what is said of each query.

    Args:
        values: What each predictor says of each query at each prefix.
        queries: The queries.

    Raises:
        InputError: If there are no more queries than coordinates, so that anything is linear.

    Source:
        Fu et al. 2024, arXiv:2310.17086: w~ = (Q^T Q)^-1 Q^T A(Q); R^2 as in Akyurek et al. 2023,
        arXiv:2211.15661, whose code fits an intercept too. QR with column pivoting in float64 (LAPACK's gelsy):
        the solution of least norm should queries be linearly dependent.
    """
    n_query, d_input = queries.shape[-2:]
    refuse_faults([must("n_query", f"be more than d_input {d_input}", n_query, n_query > d_input)])
    said, asked = values.double().cpu(), queries.double().cpu()
    columns = rearrange(said.reshape(-1, *asked.shape[:3]), "row batch context n_query -> batch context n_query row")
    solved = torch.linalg.lstsq(asked, columns, driver="gelsy").solution
    rest = (columns - asked @ solved).square().sum(-2)
    linearity = rearrange(1 - rest / columns.square().sum(-2), "batch context row -> row batch context")
    weights = rearrange(solved, "batch context d_input row -> row batch context d_input")
    lead = said.shape[:-1]
    return Induced(weights.reshape(*lead, d_input), linearity.reshape(lead))


def induced_weights(
    read: LayerReader, batch: RegressionBatch, queries: Float[Tensor, "batch n_query d_input"]
) -> Induced:
    """Induced weights of every layer's read-out and of the output, at every prefix.

    One pass over the prompt and ``n_query`` further tokens per example: see `workbench.asking`.

    Args:
        read: What is said, and by which model.
        batch: Prompts, of the model's type and on its device.
        queries: Fresh inputs for each prompt, asked at every prefix: see `prompts_with_queries`.

    Raises:
        InputError: If there are no more queries than coordinates.
    """
    at_every_prefix = queries[:, None].expand(-1, batch.n_context, -1, -1)
    return fit_weights(ask(read.model, batch, at_every_prefix, read), at_every_prefix)


def local_weights(
    read: LayerReader, batch: RegressionBatch, queries: Queries
) -> Float[Tensor, "row batch context n_query d_input"]:
    """The gradient of what is said with respect to the query, at each query: the weights of a linear predictor.

    One backward pass per row: with all layers, about half as many as there are layers, each as dear as a forward one.

    Args:
        read: What is said, and by which model.
        batch: Prompts, of the model's type and on its device.
        queries: Where to take the gradient, by prefix.

    Source:
        von Oswald et al. 2023, arXiv:2212.07677, who take it at the prompt's own query.
    """
    by_prompts = [
        torch.cat([_gradients(read, part, asked) for asked in queried.split(N_ASKED, 2)], 3)
        for part, queried in passes(batch, queries)
    ]
    return torch.cat(by_prompts, 1)


def _gradients(read: LayerReader, batch: RegressionBatch, queries: Queries) -> Tensor:
    with torch.enable_grad():
        asked = queries.detach().requires_grad_()
        values = read(streams_asked(read.model, batch, asked))
        rows = [torch.autograd.grad(row.sum(), asked, retain_graph=True)[0] for row in values]
    return torch.stack(rows).double()


def prompts_with_queries(
    task: Task, seed: int, stream: str, n_prompts: int, n_query: int | None = None
) -> tuple[RegressionBatch, Float[Tensor, "batch n_query d_input"]]:
    """Prompts of a task, and fresh inputs for each from the very law of its own ones.

    They are drawn as one longer prompt, of which the last inputs are the queries: so they share its covariance too.

    Args:
        task: Where prompts come from.
        seed: Seeds them.
        stream: Names their stream.
        n_prompts: How many.
        n_query: Queries per prompt; `QUERIES_PER_INPUT` times d if None.

    Raises:
        InputError: If the task has no prompts of (x, y) examples whose number can be set.
    """
    n_context, d_input = (task.model_shape().get(name) for name in ("n_context", "d_input"))
    if n_context is None or d_input is None or not hasattr(task, "n_context"):
        raise InputError(f"induced weights need a task with a field n_context; {task.name!r} has none.")
    n_query = QUERIES_PER_INPUT * d_input if n_query is None else n_query
    longer_task: Task = replace(cast(Any, task), n_context=n_context + n_query)
    longer = longer_task.prompts(seed, stream, 0, n_prompts)
    if not isinstance(longer, RegressionBatch):
        raise InputError(f"induced weights need prompts of (x, y) examples; task {task.name!r} has tokens.")
    prompts = RegressionBatch(longer.xs[:, :n_context], longer.ys[:, :n_context])
    return prompts, longer.xs[:, n_context:]
