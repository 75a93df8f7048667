"""When layers are said to be clearly nearer to one algorithm than to another."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from workbench import baselines
from workbench.agreement.hypotheses import paths, ridge_losses
from workbench.agreement.matching import Lean
from workbench.agreement.sight import Sight
from workbench.agreement.telling import contest
from workbench.agreement.verdict import weigh
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.metrics import bootstrap_weights
from workbench.tasks import LinearRegression

N = 192
STRONG = {"steps": range(1, 13), "step_size": 0.08, "gradient": "mean", "ridge": 6.0}


@pytest.fixture(scope="module")
def prefixes():
    batch = LinearRegression(d_input=3, n_context=10).prompts(2, "sight", 0, N)
    assert isinstance(batch, RegressionBatch)
    return Prefixes.of(batch.xs, batch.ys)


def of(prefixes, name, noise=0.0, **options):
    layers = baselines.predict(name, prefixes, **options)[..., 1:]
    added = torch.randn(layers.shape, generator=torch.Generator().manual_seed(0), dtype=layers.dtype)
    known = [path for path in paths(prefixes, slice(1, 10)) if path.algorithm in ("gd", "ridge", "gd_plus_plus")]
    shares = bootstrap_weights(N, 100, torch.Generator().manual_seed(1))
    return Sight(layers + noise * added, known, prefixes.ys[:, 1:], shares)


def leaning(sight, *ci):
    """What is said if the lean to everything else has this interval."""
    rivals = {name: Lean(sum(ci) / 2, ci, 1.0) for name in sight.matches if name != sight.winner}
    return sight.rivals_of(sight.winner, rivals)


def test_where_the_rest_is_noise_the_second_algorithm_must_be_out_of_reach_and_the_first_within(prefixes):
    sight = of(prefixes, "gd", 0.1, steps=[1, 2, 4], relative_step_size=0.9)
    assert sight.winner == "gd"
    assert sight.alike < 0.05
    assert leaning(sight, -0.2, 0.4) == []
    assert leaning(sight, -0.2, 0.8) == []
    assert set(leaning(sight, 0.1, 0.8)) == {"ridge", "gd_plus_plus"}, "not at the first either"
    assert set(leaning(sight, -0.2, 1.1)) == {"ridge", "gd_plus_plus"}


def test_where_layers_share_the_rest_the_middle_must_be_out_of_reach(prefixes):
    sight = of(prefixes, "gd", 0.0, steps=[1, 2, 4], relative_step_size=0.9)
    wave = 0.05 * torch.sin(torch.arange(N * 9, dtype=torch.float64)).reshape(1, N, 9)
    shared = Sight(sight.layers + wave, sight.paths, sight.labels, sight.shares)
    assert shared.alike > 0.5
    assert leaning(shared, -0.2, 0.4) == []
    assert set(leaning(shared, -0.2, 0.8)) == set(shared.matches) - {shared.winner}


def test_layers_that_are_exactly_an_algorithm_are_told_from_one_that_hardly_differs(prefixes):
    small = {"schedule": [0.06] * 3, "gammas": [0.03] * 3, "gradient": "mean"}
    sight = of(prefixes, "gd_plus_plus", 0.0, steps=[1, 2, 3], **small)
    nearest, other = sorted((sight.matches["gd_plus_plus"].misfit, sight.matches["gd"].misfit))
    assert nearest < other / 100
    assert other < 2e-6
    assert sight.rivals_of(sight.winner) == []


def test_algorithms_that_predict_the_same_have_no_lean_and_no_measurement_would_tell_them(prefixes):
    """One step of gradient descent is one of GD++."""
    sight = of(prefixes, "gd", 0.02, steps=[1], relative_step_size=0.9)
    sight = replace(sight, paths=[path for path in sight.paths if path.algorithm != "ridge"])
    assert (sight.winner, sight.rivals, sight.same) == ("gd", ["gd_plus_plus"], ["gd_plus_plus"])
    found = weigh(sight)
    assert found.abstained
    assert list(found.nearness) == ["gd", "gd_plus_plus"]
    assert (found.nearness["gd"].lean, found.nearness["gd"].lean_ci) == (0.0, (0.0, 0.0))
    assert (found.nearness["gd_plus_plus"].lean, found.nearness["gd_plus_plus"].lean_ci) == (None, (None, None))
    tied = "its layers cannot tell Gradient descent from GD++: they predict the same here"
    assert str(found.reason).endswith(tied)
    told = " ".join(found.evidence)
    assert "GD++ says the same as Gradient descent here" in told
    assert "towards each other" not in told
    assert "successive" not in told, "there is one layer alone"


def test_beside_one_that_predicts_the_same_another_rival_is_still_to_be_told(prefixes):
    sight = of(prefixes, "gd", 1.5, steps=[1], relative_step_size=0.9)
    assert sight.winner == "gd"
    assert (set(sight.rivals), sight.same) == ({"ridge", "gd_plus_plus"}, ["gd_plus_plus"])
    told = contest(sight)
    assert "but not clearly nearer than" in told
    assert "What would tell: ill-conditioned prompts" in told
    assert "changes the inputs" not in told
    assert "successive" not in told
    assert sight.nearest_first[:2] == ["gd", "gd_plus_plus"]


def test_steps_on_a_ridge_loss_are_no_sum_of_two_algorithms(prefixes):
    """What is left of them beside gradient descent looks like online gradient descent."""
    known, layers = paths(prefixes, slice(1, 10)), baselines.predict("ridge_gd", prefixes, **STRONG)[..., 1:]
    shares = bootstrap_weights(N, 100, torch.Generator().manual_seed(1))
    blind = Sight(layers, known, prefixes.ys[:, 1:], shares)
    assert blind.foil is None
    assert weigh(blind).algorithm == "mixture"
    sight = Sight(layers, known, prefixes.ys[:, 1:], shares, partial(ridge_losses, prefixes, slice(1, 10)))
    assert sight.foil.misfit < 1e-5
    assert sight.foil.path.knobs[1] == pytest.approx(STRONG["ridge"], rel=0.05)
    found = weigh(sight)
    assert found.algorithm is None
    assert "which is no algorithm of these, is nearer than the nearest sum of two" in found.reason


def test_a_sum_of_two_algorithms_stays_one_beside_steps_on_a_ridge_loss(prefixes):
    half = baselines.predict("gd", prefixes, steps=[1, 3, 9], relative_step_size=0.7)
    layers = 0.5 * (half + baselines.predict("knn", prefixes, n_neighbors=1))[..., 1:]
    shares = bootstrap_weights(N, 100, torch.Generator().manual_seed(1))
    foils = partial(ridge_losses, prefixes, slice(1, 10))
    assert weigh(Sight(layers, paths(prefixes, slice(1, 10)), prefixes.ys[:, 1:], shares, foils)).algorithm == "mixture"
