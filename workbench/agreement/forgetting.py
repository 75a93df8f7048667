"""Forgetting: how well a predictor still answers for an example, by how long ago it was given."""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.agreement.readers import LayerReader
from workbench.asking import streams_of
from workbench.batch import RegressionBatch
from workbench.errors import must, refuse_faults

_TOKENS = 2048


def forgetting_curve(
    said: Float[Tensor, "*lead batch example"], ys: Float[Tensor, "batch example"], d_input: int
) -> Float[Tensor, "*lead gap"]:
    """Mean squared error over d of what is said of an example's own x after n examples, against the gap.

    Flat for an algorithm that treats all examples alike; rising from 0 for one that learns from them in turn and makes
    the newest exact.

    Args:
        said: Predictions at the x of each of the n examples, all from the same n examples.
        ys: Their labels.
        d_input: Size of x.

    Returns:
        The error at gap n - i for i = n (the newest, gap 0) down to 1.

    Source:
        Fu et al. 2024, arXiv:2310.17086: E (A(x_i | n pairs) - y_i)^2, with n = d = 20.
    """
    return squared_errors_by_gap(said, ys, d_input).mean(-2)


def squared_errors_by_gap(
    said: Float[Tensor, "*lead batch example"], ys: Float[Tensor, "batch example"], d_input: int
) -> Float[Tensor, "*lead batch gap"]:
    """The same, prompt by prompt."""
    return ((said.double() - ys.double()).square() / d_input).flip(-1)


@torch.no_grad()
def said_of_examples(read: LayerReader, batch: RegressionBatch, n: int) -> Float[Tensor, "row batch example"]:
    """What every layer and the output say of the x of each of the first n examples, asked after all n of them.

    One run of n + 1 examples for each example and prompt.

    Args:
        read: What is said, and by which model.
        batch: Prompts of more than ``n`` examples, of the model's type and on its device.
        n: Examples given.

    Raises:
        InputError: If the prompts are too short.
    """
    rule = f"be between 1 and {batch.n_context - 1}, leaving room for the question in the prompt"
    refuse_faults([must("n", rule, n, 1 <= n < batch.n_context)])
    step = max(1, _TOKENS // (2 * n * (n + 1)))
    parts = [_said(read, batch.prompts(i, i + step).prefix(n + 1)) for i in range(0, batch.n_batch, step)]
    return torch.cat(parts, 1)


def algorithm_said_of_examples(
    name: str, batch: RegressionBatch, n: int, steps: Sequence[int] | None = None, **options: Any
) -> Float[Tensor, "*step batch example"]:
    """What a reference algorithm says of the x of each of the first n examples, from all n of them; float64.

    Args:
        name: A name from ``BASELINES``.
        batch: Prompts of more than ``n`` examples.
        n: Examples given.
        steps: Numbers of steps, for an iterative algorithm.
        **options: The algorithm's own keyword options.
    """
    cut = batch.prefix(n + 1)
    queries = cut.xs[:, None, :n].expand(-1, n + 1, -1, -1)
    return baselines.predict(name, cut.xs, cut.ys, steps, queries=queries, **options)[..., n, :]


def _said(read: LayerReader, batch: RegressionBatch) -> Float[Tensor, "row batch example"]:
    n = batch.n_context - 1
    given = repeat(batch.xs[:, :n], "batch context d -> batch example context d", example=n)
    asked = torch.cat([given, batch.xs[:, :n, None]], 2)
    xs = rearrange(asked, "batch example context d -> (batch example) context d")
    prompt = read.model.encode(RegressionBatch(xs, batch.ys.repeat_interleave(n, 0)))
    read_at = read.model.plan.read_positions(prompt.shape[1])[-1:]
    said = read(streams_of(read.model, prompt)[:, :, read_at])
    return rearrange(said, "row (batch example) 1 -> row batch example", example=n)
