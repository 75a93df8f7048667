"""Queries asked beside a prompt get what the cut prompt with each in place of its last x would give."""

from dataclasses import replace

import pytest
import torch

from tests.contracts.test_models import D_INPUT, D_OUTPUT, N_CONTEXT, PAIRS, build, name_of
from workbench.asking import N_ASKED, ask, asked_streams, streams_asked
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models import Transformer
from workbench.models.kinds import LAYOUTS

CONTINUOUS = [
    switches
    for switches in PAIRS
    if switches.get("input") != "tokens" and not LAYOUTS[switches.get("layout", "interleaved")].sequence
]


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prompts(model: Transformer, n_batch: int = 2) -> RegressionBatch:
    d_output = () if model.config.d_output is None else (D_OUTPUT,)
    return RegressionBatch(random(n_batch, N_CONTEXT, D_INPUT, seed=5), random(n_batch, N_CONTEXT, *d_output, seed=6))


def by_cutting(model: Transformer, batch: RegressionBatch, queries: torch.Tensor) -> torch.Tensor:
    """The same from plain runs of cut prompts, one for each query, through TransformerLens's cache."""
    streams = queries.new_zeros(model.config.n_layers + 1, *queries.shape[:3], model.config.d_model)
    for i in range(batch.n_context):
        for k in range(queries.shape[2]):
            cut = batch.prefix(i + 1)
            xs = torch.cat([cut.xs[:, :-1], queries[:, i, k][:, None]], 1)
            prompt = model.encode(replace(cut, xs=xs))
            _, cache = model.run_with_cache(prompt)
            read_at = model.plan.read_positions(prompt.shape[1])[-1]
            streams[0, :, i, k] = cache["resid_pre", 0][:, read_at]
            for layer in range(model.config.n_layers):
                streams[layer + 1, :, i, k] = cache["resid_post", layer][:, read_at]
    return streams


@pytest.mark.parametrize("switches", CONTINUOUS, ids=name_of)
def test_asked_streams_are_those_of_the_cut_prompt_with_the_query_as_its_last_x(switches):
    model = build(switches)
    batch, queries = prompts(model), random(2, N_CONTEXT, 2, D_INPUT, seed=7)
    expected = by_cutting(model, batch, queries)
    torch.testing.assert_close(asked_streams(model, batch, queries), expected, rtol=1e-10, atol=1e-10)
    own = batch.xs[:, :, None].expand_as(queries)
    assert (expected - asked_streams(model, batch, own)).abs().max() > 1e-3, "other queries, other streams"


@pytest.mark.parametrize("layout", ["interleaved", "pairs"])
def test_a_query_is_blind_to_other_queries_and_to_what_comes_after_its_prefix(layout):
    model = build({"layout": layout})
    batch, queries = prompts(model), random(2, N_CONTEXT, 3, D_INPUT, seed=7)
    before = asked_streams(model, batch, queries)
    for i in range(N_CONTEXT):
        xs, ys, others = batch.xs.clone(), batch.ys.clone(), queries.clone()
        xs[:, i:] += 1.0
        ys[:, i:] += 1.0
        others[:, :, 1:] += 1.0
        after = asked_streams(model, RegressionBatch(xs, ys), others)
        torch.testing.assert_close(after[:, :, : i + 1, 0], before[:, :, : i + 1, 0], rtol=0, atol=1e-12)
        if i + 1 < N_CONTEXT:
            assert (after[1:, :, i + 1 :, 0] - before[1:, :, i + 1 :, 0]).abs().max() > 1e-6


def test_what_is_read_pass_by_pass_is_what_would_be_read_of_all_streams():
    model = build({})
    batch, queries = prompts(model, n_batch=70), random(70, N_CONTEXT, N_ASKED + 3, D_INPUT, seed=7)
    streams = asked_streams(model, batch, queries)
    assert streams.shape == (3, 70, N_CONTEXT, N_ASKED + 3, 8)
    read = ask(model, batch, queries, lambda streams: streams[1:].square().sum(-1))
    torch.testing.assert_close(read, streams[1:].square().sum(-1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_with_respect_to_queries_are_those_of_finite_differences(causal):
    model = build({"causal": causal})
    batch, queries = prompts(model), random(2, N_CONTEXT, 2, D_INPUT, seed=7).requires_grad_()
    [gradient] = torch.autograd.grad(streams_asked(model, batch, queries)[-1].sum(), queries)
    step = torch.zeros_like(queries)
    step[1, 2, 1, 0] = 1e-5
    with torch.no_grad():
        ends = [streams_asked(model, batch, queries + sign * step)[-1].sum() for sign in (1, -1)]
    assert gradient[1, 2, 1, 0].item() == pytest.approx(((ends[0] - ends[1]) / 2e-5).item(), rel=1e-6)


def test_queries_of_another_shape_are_refused_in_one_line():
    model = build({})
    batch = prompts(model)
    with pytest.raises(InputError, match=r"queries must be \[batch context n_query d_input\]; got"):
        asked_streams(model, batch, random(2, N_CONTEXT + 1, 4, D_INPUT, seed=7))


def test_a_prompt_that_does_not_fit_its_arrangement_is_refused():
    model = build({})
    batch = prompts(model)
    arrangement = model.plan.asked_beside(model.visible, N_CONTEXT, 1)
    with pytest.raises(InputError, match="must have the 9 positions arranged; got 6"):
        model(model.encode(batch), arrangement=arrangement)
