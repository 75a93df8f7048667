"""Influence of labels: exact where the algorithm is known, and finite differences everywhere else."""

import pytest
import torch

from tests.agreement.constructed import one_step_model
from tests.contracts.test_models import D_INPUT, N_CONTEXT, PAIRS, build, name_of
from workbench.agreement.influence import model_influence
from workbench.agreement.read_outs import ReadOuts
from workbench.agreement.readers import LayerReader
from workbench.asking import ask
from workbench.batch import RegressionBatch

ONE_NUMBER = [switches for switches in PAIRS if switches.get("output") not in ("logits", "vector")]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prompts(n_batch: int, n_context: int = N_CONTEXT, d_input: int = D_INPUT) -> RegressionBatch:
    return RegressionBatch(random(n_batch, n_context, d_input, seed=5), random(n_batch, n_context, seed=6))


def reader(model) -> LayerReader:
    return LayerReader(
        model, ReadOuts(random(3, model.config.d_model + 1, seed=8), torch.zeros(3, dtype=torch.float64))
    )


@pytest.mark.parametrize("switches", ONE_NUMBER, ids=name_of)
def test_model_influence_is_the_finite_difference_of_what_every_layer_says(switches):
    model = build(switches)
    batch, read = prompts(2), reader(model)
    found = model_influence(read, batch)
    own = batch.xs[:, :, None]
    for j in range(N_CONTEXT):
        step = 1e-5 * torch.eye(N_CONTEXT, dtype=torch.float64)[j]
        ends = [ask(model, RegressionBatch(batch.xs, batch.ys + sign * step), own, read) for sign in (1, -1)]
        expected = (ends[0] - ends[1])[..., 0] / 2e-5
        torch.testing.assert_close(found[..., j], expected, rtol=1e-5, atol=1e-7)
    assert (found.triu() == 0).all(), "no label moves its own prediction or an earlier one"
    assert found[-1].abs().max() > 1e-6


def test_the_output_needs_no_read_out():
    model = build({})
    batch = prompts(40)
    torch.testing.assert_close(model_influence(LayerReader(model), batch), model_influence(reader(model), batch)[-1:])


def test_a_model_that_was_typed_to_make_one_step_has_the_influence_of_one_step():
    batch = prompts(3, n_context=6, d_input=3)
    found = model_influence(LayerReader(one_step_model(3, 6)), batch)[0]
    for i in range(6):
        expected = torch.einsum("bd,bjd->bj", batch.xs[:, i], batch.xs[:, :i]) / max(i, 1)
        torch.testing.assert_close(found[:, i, :i], expected, rtol=0, atol=1e-12)
