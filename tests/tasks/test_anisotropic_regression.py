"""Linear regression with one input covariance: the covariance that it says, and the prior that undoes it."""

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import AnisotropicRegression


def test_the_spectrum_is_the_given_one_in_a_random_or_in_the_plain_basis():
    given = torch.tensor([1.0, 1.0, 0.25, 0.0625, 1.0]).double()
    turned, plain = AnisotropicRegression(), AnisotropicRegression(rotated=False)
    torch.testing.assert_close(plain.law().covariance, given.diag(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.linalg.eigvalsh(turned.law().covariance), given.sort().values, rtol=1e-5, atol=0)
    off = turned.law().covariance - turned.law().covariance.diag().diag()
    assert off.abs().max() > 0.1
    other = AnisotropicRegression(fixed_seed=1).law().covariance
    assert (other - turned.law().covariance).abs().max() > 0.1


def test_neighbours_correlate_by_powers():
    task = AnisotropicRegression(d_input=4, covariance="neighbours", correlation=-0.5)
    order = torch.arange(4.0).double()
    expected = (-0.5) ** (order[:, None] - order).abs()
    torch.testing.assert_close(task.law().covariance, expected, rtol=1e-6, atol=1e-6)
    drawn = task.prompts(0, "test", 0, 4096)
    torch.testing.assert_close(drawn.latents["covariance"][7].double(), expected, rtol=1e-5, atol=1e-5)
    flat = drawn.xs.flatten(0, 1)
    torch.testing.assert_close((flat.T @ flat / len(flat)).double(), expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("covariance", ["spectrum", "neighbours"])
def test_the_inverse_prior_makes_every_direction_say_as_much(covariance):
    """w . x = v . u for standard normal v and u: Sigma Psi is a multiple of I."""
    task = AnisotropicRegression(covariance=covariance, prior="inverse_covariance", w_scale=2.0)
    law = task.law()
    torch.testing.assert_close(law.covariance @ law.prior, 4 * torch.eye(5).double(), rtol=0, atol=1e-4)
    assert law.signal_variance == pytest.approx(20, rel=1e-5)


def test_a_ridge_is_bayes_only_where_the_prior_is_isotropic_or_nothing_is_noisy():
    assert AnisotropicRegression(noise_std=0.5, w_scale=0.5).bayes_ridge() == pytest.approx(1.0)
    assert AnisotropicRegression(noise_std=0.5, prior="inverse_covariance").bayes_ridge() is None
    assert AnisotropicRegression(prior="inverse_covariance").bayes_ridge() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_input": 4}, "spectrum must hold d_input 4 numbers above 0"),
        ({"d_input": 2, "spectrum": (1.0, 0.0)}, "spectrum must hold d_input 2 numbers above 0"),
        ({"covariance": "neighbours", "correlation": 1.0}, "correlation must be above -1 and below 1; got 1.0"),
        ({"w_scale": 0.0, "noise_std": -1.0}, "noise_std must .*; w_scale must"),
        ({"n_context": 0}, "n_context must be"),
        ({"fixed_seed": -1}, "fixed_seed must be a whole number of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        AnisotropicRegression(**settings)
