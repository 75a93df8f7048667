"""Linear regression with a covariance of its own in every prompt."""

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import RandomCovarianceRegression


@pytest.mark.parametrize("variances", ["exponential", "uniform"])
def test_variances_have_the_moments_that_it_tells(variances):
    task = RandomCovarianceRegression(variances=variances, input_scale=0.9)
    drawn = task.prompts(0, "test", 0, 2**15).latents["variances"].double()
    for power in (1, 2, 3):
        samples = drawn**power
        error = samples.std() / samples.numel() ** 0.5
        assert (samples.mean() - task.variance_moment(power)).abs() < 5 * error
    assert RandomCovarianceRegression(variances="exponential").variance_moment(3) == 6
    assert RandomCovarianceRegression(variances="uniform").variance_moment(2) == pytest.approx(4 / 3)


@pytest.mark.parametrize("rotated", [False, True])
def test_inputs_of_a_prompt_have_its_covariance_with_its_variances_for_eigenvalues(rotated):
    task = RandomCovarianceRegression(n_context=20_000, rotated=rotated)
    batch = task.prompts(0, "test", 0, 2)
    for xs, covariance, variances in zip(batch.xs, batch.latents["covariance"], batch.latents["variances"]):
        torch.testing.assert_close(xs.T @ xs / len(xs), covariance, rtol=0.1, atol=0.1)
        torch.testing.assert_close(torch.linalg.eigvalsh(covariance), variances.sort().values, rtol=1e-4, atol=1e-5)
        off = (covariance - covariance.diag().diag()).abs().max()
        assert (off > 0.05) == rotated


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_input": 0, "input_scale": 0.0}, "d_input must .*; input_scale must be greater than 0; got 0.0"),
        ({"noise_std": -1.0}, "noise_std must be at least 0"),
        ({"n_context": 0}, "n_context must be"),
        ({"w_scale": -1.0}, "w_scale must be greater than 0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        RandomCovarianceRegression(**settings)
