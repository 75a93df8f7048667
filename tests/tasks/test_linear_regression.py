"""In-context linear regression: the laws that it says it draws from."""

import math

import pytest
import torch

from workbench import baselines
from workbench.errors import InputError
from workbench.tasks import LinearRegression


def draw(n: int = 4096, **settings):
    settings = {"d_input": 6, "n_context": 5, **settings}
    return LinearRegression(**settings).prompts(0, "test", 0, n)


def covariance_of(xs: torch.Tensor) -> torch.Tensor:
    flat = xs.reshape(-1, xs.shape[-1])
    return flat.T @ flat / len(flat)


def test_labels_are_the_inner_product_plus_the_noise_that_is_kept():
    batch = draw(noise_std=0.5)
    clean = torch.einsum("bcd,bd->bc", batch.xs, batch.latents["w"])
    torch.testing.assert_close(batch.ys, clean + batch.latents["noise"], rtol=1e-5, atol=1e-5)
    assert batch.latents["noise"].std().item() == pytest.approx(0.5, rel=0.02)
    assert (draw(n=8).latents["noise"] == 0).all()


def test_isotropic_inputs_have_unit_covariance_and_w_has_its_scale():
    batch = draw(w_scale=2.0)
    torch.testing.assert_close(covariance_of(batch.xs), torch.eye(6), rtol=0, atol=0.05)
    assert batch.latents["w"].std().item() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("covariance", ["condition", "skewed"])
@pytest.mark.parametrize("basis", ["fixed", "per_prompt"])
def test_anisotropic_inputs_keep_the_trace_and_have_the_stated_spectrum(covariance, basis):
    task = LinearRegression(d_input=6, n_context=5, covariance=covariance, condition_number=25.0, basis=basis)
    spectrum = task.spectrum()
    assert spectrum.sum().item() == pytest.approx(6.0)
    if covariance == "condition":
        assert (spectrum[0] / spectrum[-1]).item() == pytest.approx(25.0)
        assert (spectrum == spectrum[0]).sum() == 3
    else:
        torch.testing.assert_close(spectrum / spectrum[0], torch.arange(1.0, 7.0) ** -2)
    batch = task.prompts(0, "test", 0, 512)
    kept = torch.linalg.eigvalsh(batch.latents["covariance"].double())
    torch.testing.assert_close(kept, spectrum.sort().values.double().expand(512, 6), rtol=1e-4, atol=1e-5)
    one_basis = (batch.latents["covariance"][0] - batch.latents["covariance"][1]).abs().max() < 1e-6
    assert bool(one_basis) == (basis == "fixed")


def test_the_kept_covariance_is_that_of_the_inputs():
    task = LinearRegression(d_input=4, n_context=8, covariance="condition", basis="fixed", input_scale=1.5)
    batch = task.prompts(0, "test", 0, 2**16)
    torch.testing.assert_close(covariance_of(batch.xs), batch.latents["covariance"][0], rtol=0.05, atol=0.02)


def test_uniform_inputs_fill_their_cube_and_no_more():
    batch = draw(inputs="uniform")
    assert batch.xs.abs().max() <= 0.5
    assert batch.xs.var().item() == pytest.approx(1 / 12, rel=0.02)
    torch.testing.assert_close(batch.latents["covariance"][0], torch.eye(6) / 12)


def test_sparse_weights_have_exactly_so_many_coordinates_anywhere():
    w = draw(weights="sparse", n_nonzero=2).latents["w"]
    assert ((w != 0).sum(1) == 2).all()
    assert ((w != 0).float().mean(0) - 1 / 3).abs().max() < 0.03


def test_a_pool_has_so_many_weights_the_same_for_every_seed():
    task = LinearRegression(d_input=6, n_context=5, weights="pool", n_pool=3)
    one, other = task.prompts(0, "a", 0, 256), task.prompts(1, "b", 0, 256)
    assert len(one.latents["w"].unique(dim=0)) == 3
    assert torch.equal(one.latents["w"].unique(dim=0), other.latents["w"].unique(dim=0))
    assert torch.equal(task.pool()[one.latents["pool_index"]], one.latents["w"])


@pytest.mark.parametrize("weights", ["gaussian", "sparse", "pool"])
def test_a_dimension_curriculum_zeroes_the_other_coordinates_and_the_labels_follow(weights):
    task = LinearRegression(d_input=6, n_context=5, weights=weights, n_nonzero=2, covariance="skewed")
    batch = task.prompts(0, "test", 0, 64, d_active=3)
    assert (batch.xs[..., 3:] == 0).all()
    clean = torch.einsum("bcd,bd->bc", batch.xs, batch.latents["w"])
    torch.testing.assert_close(batch.ys, clean, rtol=1e-5, atol=1e-5)
    as_tensor = task.prompts(0, "test", 0, 64, d_active=torch.tensor(3))
    assert torch.equal(batch.ys, as_tensor.ys)
    if weights == "sparse":
        assert (batch.latents["w"][:, 3:] == 0).all()


def test_the_zero_predictor_errs_by_d():
    batch = draw(n=8192)
    assert (batch.ys.square().mean() / 6).item() == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("weights", ["gaussian", "sparse", "pool"])
def test_no_other_ridge_errs_less_than_the_yardstick(weights):
    task = LinearRegression(d_input=8, n_context=12, noise_std=1.0, w_scale=1.5, weights=weights, n_pool=512)
    batch = task.prompts(0, "ridge", 0, 8192)
    best = task.least_squares_ridge()

    def error(ridge: float) -> float:
        predictions = baselines.predict("ridge", batch.xs, batch.ys, ridge=ridge)
        return ((predictions - batch.ys) ** 2).mean().item()

    assert error(best) < min(error(best / 2), error(best * 2))


def test_bayes_is_a_ridge_for_gaussian_weights_alone():
    assert LinearRegression(noise_std=0.5, w_scale=2.0).bayes_ridge() == pytest.approx(1 / 16)
    assert LinearRegression(noise_std=0.5, weights="sparse").bayes_ridge() is None
    assert LinearRegression(noise_std=0.5, weights="pool").bayes_ridge() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_input": 0}, "d_input must be a whole number of at least 1; got 0"),
        ({"n_context": 0}, "n_context must be a whole number of at least 1; got 0"),
        ({"noise_std": -0.1}, "noise_std must be at least 0; got -0.1"),
        ({"noise_std": math.nan}, "noise_std must be at least 0; got nan"),
        ({"condition_number": 0.5}, "condition_number must be at least 1"),
        ({"weights": "sparse", "n_nonzero": 21}, "n_nonzero must be between 1 and d_input"),
        ({"n_pool": 0}, "n_pool must be"),
        ({"w_scale": 0.0}, "w_scale must be greater than 0"),
        ({"input_scale": -1.0}, "input_scale must be greater than 0"),
        ({"d_input": 0, "n_context": 0}, "d_input must .*; n_context must"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        LinearRegression(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"inputs": "uniform", "input_scale": 3.0, "w_scale": 0.5, "noise_std": 0.25},
        {"covariance": "skewed", "basis": "fixed", "weights": "sparse"},
        {"covariance": "condition", "condition_number": 9.0, "weights": "pool", "n_pool": 7},
    ],
)
def test_the_law_that_it_tells_is_the_one_that_it_draws_from(settings):
    batch = draw(**settings)
    law = LinearRegression(**{"d_input": 6, "n_context": 5, **settings}).law()
    assert law.n_examples == 4
    if law.basis is None:
        spectra = torch.linalg.eigvalsh(batch.latents["covariance"].double())
        torch.testing.assert_close(spectra, law.spectrum.sort().values.expand_as(spectra), rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(batch.latents["covariance"][0].double(), law.covariance, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(covariance_of(batch.xs).double(), law.covariance, rtol=0.05, atol=0.08)
        z = (batch.xs.double() @ law.basis.mT) / law.spectrum.sqrt()
        assert (z**4).mean().item() - 3 == pytest.approx(law.excess_kurtosis, abs=0.15)
    w = batch.latents["w"].double()
    torch.testing.assert_close(w.T @ w / len(w), law.prior, rtol=0.05, atol=0.06)
    assert batch.latents["noise"].var().item() == pytest.approx(law.noise_variance, rel=0.03)
    assert law.symmetric_weights == (settings.get("weights") != "pool")
