"""Steering and erasing: on a hand-made model whose weights stand in the stream, and what the figures mean."""

from dataclasses import replace

import pytest
import torch

from probes import steering as module
from probes.asked import Asked, answer, pieces
from probes.follows import coefficients, everyone, followed, lost
from probes.record import ProbeTarget
from probes.steering import steer
from probes.steering_config import SteeringConfig
from workbench import baselines
from workbench.errors import InputError
from workbench.metrics import bootstrap_weights
from workbench.models import Transformer, TransformerConfig
from workbench.models.constructions.gd_on_weights import build
from workbench.tasks import LinearRegression

D, CONTEXT, STEPS, ETAS = 2, 6, 3, [0.2, 0.35, 0.1]
TASK = LinearRegression(d_input=D, n_context=CONTEXT)
QUICK = SteeringConfig(n_fit=320, n_prompts=96, n_draws=8, n_resamples=100, n_contexts=(5,), tokens=("examples",))


def held(name):
    """The iterate that the construction holds, scaled where asked for."""
    k, scale = int(name[2]), 2.0 if name.endswith("twice") else 1.0

    def compute(seen):
        steps = {"steps": [k], "schedule": ETAS, "gradient": "mean"}
        return scale * baselines.weights("gd", seen.examples.prefixes, **steps)[0, :, seen.n]

    return ProbeTarget(name, name, "here", compute)


@pytest.fixture
def own_targets(monkeypatch):
    monkeypatch.setattr(module, "find_target", held)


def small(**changes):
    config = TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, **changes).shaped(TASK.model_shape())
    return Transformer(config, torch.Generator().manual_seed(0)).eval()


def by_layer(rows, tokens="examples"):
    return {row.layer: row for row in rows if row.tokens == tokens}


@pytest.mark.usefixtures("own_targets")
def test_predictions_follow_weights_put_in_where_they_are_read_and_nowhere_else():
    rows = by_layer(steer(build(D, CONTEXT, STEPS, step_size=ETAS), TASK, replace(QUICK, targets=("w_3",))))
    assert rows[0].steered is None  # nothing decoded
    last = rows[STEPS].steered
    assert last.followed.slope == pytest.approx(1.0, abs=1e-7)
    assert last.followed.slope_ci == pytest.approx((1.0, 1.0), abs=1e-7)
    assert last.followed.kept == pytest.approx(0.0, abs=1e-7)
    assert last.random_range[0] < last.random < last.random_range[1] < 0.9
    assert last.p_value == pytest.approx(1 / 9)
    assert last.n_tokens == 5
    assert 0.3 < last.length < 1.2  # towards another prompt
    read = rows[STEPS + 1].steered
    assert (read.followed.slope, read.followed.kept) == pytest.approx((0.0, 1.0), abs=1e-12)
    assert read.random_range == pytest.approx((0.0, 0.0), abs=1e-12)
    assert 0.2 < rows[1].steered.followed.slope < rows[2].steered.followed.slope < 0.99  # steps forget


@pytest.mark.usefixtures("own_targets")
def test_a_model_that_was_not_trained_is_moved_beside_by_probes_of_its_own():
    """A random model holds y x at a token and predicts with nothing of it; the construction beside itself is itself."""
    model, config = build(D, CONTEXT, STEPS, step_size=ETAS), replace(QUICK, targets=("w_3",), layers=(STEPS,))
    (row,) = steer(model, TASK, config, untrained=model)
    assert row.steered is not None
    assert row.untrained == row.steered.followed
    random = Transformer(model.config, torch.Generator().manual_seed(0)).double()
    rows = steer(model, TASK, replace(config, layers=None), untrained=random)
    slopes = [each.untrained.slope for each in rows if each.untrained is not None]
    assert slopes
    assert max(map(abs, slopes)) < 0.3
    assert steer(model, TASK, config)[0].untrained is None


@pytest.mark.usefixtures("own_targets")
def test_over_draws_random_directions_give_slope_0():
    config = replace(QUICK, targets=("w_3",), layers=(STEPS,), n_draws=200, n_prompts=32)
    (row,) = steer(build(D, CONTEXT, STEPS, step_size=ETAS), TASK, config)
    spread = (row.steered.random_range[1] - row.steered.random_range[0]) / 3.9
    assert abs(row.steered.random) < 4 * spread / 200**0.5


@pytest.mark.usefixtures("own_targets")
def test_one_token_of_n_has_an_nth_of_the_say_and_the_query_none():
    config = replace(QUICK, targets=("w_3", "w_3 twice"), layers=(STEPS,), tokens=("answer", "query", "each"))
    rows = steer(build(D, CONTEXT, STEPS, step_size=ETAS), TASK, config)
    one = [row for row in rows if row.target == "w_3"]
    assert [row.positions for row in one] == [(4,), (5,), (0,), (1,), (2,), (3,), (4,), (5,)]
    for row in one:
        if row.positions != (5,):
            assert row.steered.followed.slope == pytest.approx(0.2, abs=1e-7)
        else:  # its w is not read; the move also touches its x a little
            assert abs(row.steered.followed.slope) < 0.1
    double = next(row for row in rows if row.target == "w_3 twice" and row.tokens == "answer")
    assert double.steered.followed.slope == pytest.approx(0.1, abs=1e-7)  # w is half of what was put in


@pytest.mark.usefixtures("own_targets")
def test_erasing_the_weights_leaves_the_prediction_of_their_mean():
    rows = by_layer(steer(build(D, CONTEXT, STEPS, step_size=ETAS), TASK, replace(QUICK, targets=("w_3",))))
    erased = rows[STEPS].erased
    assert erased.rank == D
    zero = TASK.prompts(0, "probe-test", 0, 96).ys[:, 5].double().square().mean().item() / D
    assert erased.error.value == pytest.approx(zero, rel=0.1)  # mean weights are 0 but for sampling
    assert erased.error.value > 2 * erased.error_before
    assert erased.error.excess_ci[0] > 0
    nothing = rows[STEPS + 1].erased
    assert nothing.error.value == pytest.approx(nothing.error_before, abs=1e-12)
    assert nothing.to_ols.excess == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_causal_model_goes_on_from_its_own_stream_as_it_was(positions):
    model = small(positions=positions)
    batch = TASK.prompts(0, "on", 0, 8).prefix(4)
    expected = model.predict(batch)[:, -1].double()
    (piece,) = pieces(model, batch)
    for layer in range(3):
        torch.testing.assert_close(answer(model, piece, layer), expected, atol=1e-5, rtol=1e-5)
        same = piece.at((3, 6), layer)
        torch.testing.assert_close(answer(model, piece, layer, (3, 6), same), expected, atol=1e-5, rtol=1e-5)
    moved = answer(model, piece, 1, (7,), piece.at((7,), 1) + 5)  # behind the query: nobody sees it
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)
    assert (answer(model, piece, 1, (6,), piece.at((6,), 1) + torch.arange(8.0)) - expected).abs().max() > 1e-3


def test_tokens_of_a_causal_prompt():
    asked = Asked.of(small(), 3)
    sets = dict(asked.sets(("answer", "query", "examples", "all")))
    assert sets == {"answer": (5,), "query": (6,), "examples": (1, 2, 3, 4, 5), "all": (1, 2, 3, 4, 5, 6)}
    assert [asked.n_seen(position) for position in asked.positions] == [1, 1, 2, 2, 3, 3]


def test_a_target_of_another_size_is_erased_alone():
    rows = steer(small(), TASK, replace(QUICK, targets=("moment_matrix",), tokens=("answer",), layers=(1,)))
    assert rows[0].steered is None
    assert rows[0].erased.rank == 3


def test_predictions_that_are_spoilt_do_not_follow():
    g = torch.Generator().manual_seed(0)
    before, noise = torch.randn(2, 400, generator=g, dtype=torch.float64)
    wanted = torch.randn(3, 400, generator=g, dtype=torch.float64)
    shares = bootstrap_weights(400, 200, g)
    spoilt = followed(0.0 * wanted, wanted, before, shares)
    assert (spoilt.slope, spoilt.kept) == pytest.approx((0.0, 0.0), abs=1e-12)
    partly = followed(0.3 * wanted + 0.6 * before + noise, wanted, before, shares)
    assert partly.slope_ci[0] < 0.3 < partly.slope_ci[1]
    assert partly.kept_ci[0] < 0.6 < partly.kept_ci[1]
    plain = torch.linalg.lstsq(
        torch.stack([wanted.flatten(), before.repeat(3)], 1), (wanted.square() + before).flatten()[:, None]
    ).solution[:, 0]
    torch.testing.assert_close(coefficients(wanted.square() + before, wanted, before, everyone(400))[0], plain)


def test_a_loss_is_told_beside_that_of_random_directions():
    shares = everyone(4)
    found = lost(
        torch.tensor([1.0, 2, 3, 4]).double(), torch.tensor([[0.0] * 4, [1.0] * 4, [5.0] * 4]).double(), shares
    )
    assert (found.value, found.random, found.excess, found.p_value) == (2.5, 2.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layers": (9,)}, "layers must be at most 2, the blocks of the model; got .9."),
        ({"n_contexts": (6,)}, "n_contexts must be at most 5 in prompts of 6 examples"),
        ({"targets": ("w_olss",)}, "Did you mean 'w_ols'"),
        ({"targets": ("position",)}, "'position' must"),
        ({"n_fit": 64, "tokens": ("each",)}, None),
    ],
)
def test_wrong_input_is_told_in_a_line(changes, told):
    config = replace(QUICK, **changes)
    if told is None:
        wide = Transformer(replace(small().config, d_model=64, d_mlp=8))
        with pytest.raises(InputError, match="n_fit must leave more training samples than the 64 features"):
            steer(wide, TASK, config)
        return
    with pytest.raises(InputError, match=told):
        steer(small(), TASK, config)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokens": ("last",)}, "tokens must be of answer, query, examples, all, each"),
        ({"targets": ()}, "targets must name at least one"),
        ({"n_draws": 1}, "n_draws must be a whole number of at least 2"),
        ({"least_r2": 0.0}, "least_r2 must be a number above 0"),
        ({"n_contexts": (0,)}, "n_contexts must be whole numbers of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        SteeringConfig(**changes)
