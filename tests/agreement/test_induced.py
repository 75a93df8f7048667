"""Induced weights: exact for linear predictors, honest about others."""

from dataclasses import replace

import pytest
import torch

from tests.agreement.constructed import one_step_model
from tests.contracts.test_models import build
from workbench import baselines
from workbench.agreement.induced import fit_weights, induced_weights, local_weights, prompts_with_queries
from workbench.agreement.read_outs import ReadOuts
from workbench.agreement.readers import LayerReader
from workbench.asking import ask
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.tasks import LinearRegression

D, N_CONTEXT = 3, 6
TASK = LinearRegression(d_input=D, n_context=N_CONTEXT)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(n_prompts: int = 4, task: LinearRegression = TASK) -> tuple[RegressionBatch, torch.Tensor]:
    batch, queries = prompts_with_queries(task, 0, "test", n_prompts)
    return batch.to(dtype=torch.float64), queries.double()


def test_the_fit_to_a_linear_predictor_has_its_weights_and_explains_all():
    weights, queries = random(2, 4, 5, 3), random(4, 5, 9, 3, seed=1)
    values = torch.einsum("rbcd,bcqd->rbcq", weights, queries)
    found = fit_weights(values, queries)
    torch.testing.assert_close(found.weights, weights, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.linearity, torch.ones(2, 4, 5, dtype=torch.float64))


def test_what_has_nothing_linear_is_not_explained_and_no_answer_has_no_linearity():
    queries = random(1, 1, 2000, 3)
    even = queries[..., 0].square() - 1
    assert fit_weights(even, queries).linearity.item() < 0.02
    half = queries[..., 0] + even / 2**0.5  # two uncorrelated parts of variance 1
    assert fit_weights(half, queries).linearity.item() == pytest.approx(0.5, abs=0.08)
    silent = fit_weights(torch.zeros_like(even), queries)
    assert silent.linearity.isnan().all()
    assert (silent.weights == 0).all()


def test_as_few_queries_as_coordinates_are_refused():
    with pytest.raises(InputError, match="n_query must be more than d_input 3; got 3"):
        fit_weights(random(1, 1, 3), random(1, 1, 3, 3))


@pytest.mark.parametrize("layers", [True, False])
def test_a_model_that_was_typed_to_make_one_step_has_the_weights_of_one_step(layers):
    batch, queries = drawn()
    model = one_step_model(D, N_CONTEXT)
    read_y = torch.zeros(2, D + 2, dtype=torch.float64)
    read_y[:, D] = 1.0
    read = LayerReader(model, ReadOuts(read_y, torch.zeros(2)) if layers else None)
    found = induced_weights(read, batch, queries)
    expected = baselines.weights("averaging", batch.xs, batch.ys)
    assert read.names == (("0", "1", "output") if layers else ("output",))
    torch.testing.assert_close(found.weights[-1], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.linearity[-1, :, 1:], torch.ones(4, N_CONTEXT - 1, dtype=torch.float64))
    if layers:
        assert (found.weights[0] == 0).all(), "the embedding of a query knows no y"
        torch.testing.assert_close(found.weights[1], expected, rtol=0, atol=1e-12)
    local = local_weights(read, batch, queries[:, None].expand(-1, N_CONTEXT, -1, -1))
    torch.testing.assert_close(local[-1], expected[:, :, None].expand_as(local[-1]), rtol=0, atol=1e-12)
    other = baselines.weights("ols", batch.xs, batch.ys)
    assert (found.weights[-1] - other).abs().max() > 0.1


def test_local_weights_of_every_layer_are_finite_differences_of_what_it_says():
    model = build({"norm": "rms_norm"})
    batch, queries = drawn(2, LinearRegression(d_input=2, n_context=3))
    read_outs = ReadOuts(random(3, 9), torch.zeros(3))
    asked = queries[:, None, :2].expand(-1, 3, -1, -1).clone()
    for final_norm in (False, True):
        read = LayerReader(model, read_outs, final_norm)
        local = local_weights(read, batch, asked)
        for coordinate in range(2):
            step = 1e-5 * torch.eye(2, dtype=torch.float64)[coordinate]
            ends = [ask(model, batch, asked + sign * step, read) for sign in (1, -1)]
            torch.testing.assert_close(local[..., coordinate], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_the_last_row_is_what_the_model_predicts_and_a_read_out_through_the_norm_can_equal_it():
    model = build({})
    batch, _ = drawn(2, LinearRegression(d_input=2, n_context=3))
    solutions = torch.cat([model.W_U[:, 0], model.b_U]).detach().expand(3, -1)
    said = ask(model, batch, batch.xs[:, :, None], LayerReader(model, ReadOuts(solutions, torch.zeros(3)), True))
    torch.testing.assert_close(said[-1, ..., 0], model.predict(batch), rtol=0, atol=1e-12)
    torch.testing.assert_close(said[-2], said[-1], rtol=0, atol=1e-12)
    assert (said[0] - said[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("covariance", ["isotropic", "condition"])
def test_queries_follow_the_law_of_the_prompts_own_inputs(covariance):
    task = LinearRegression(d_input=4, n_context=300, covariance=covariance, condition_number=9.0)
    batch, queries = prompts_with_queries(task, 0, "law", 2, 300)
    assert (batch.xs.shape, queries.shape) == ((2, 300, 4), (2, 300, 4))
    assert not (queries[:, :, None] == batch.xs[:, None]).all(-1).any()
    own, asked = (x.mT @ x / 300 for x in (batch.xs, queries))
    apart = (own - asked).norm(dim=(1, 2)) / own.norm(dim=(1, 2))
    assert (apart < 0.35).all(), "the same eigenbasis, prompt by prompt"
    assert prompts_with_queries(replace(task, n_context=5), 0, "law", 2)[1].shape == (2, 12, 4)
