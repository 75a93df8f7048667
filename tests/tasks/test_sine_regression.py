"""Sine waves: their height, phase and range."""

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import SineRegression


def test_labels_are_the_wave_that_amplitude_and_phase_make():
    batch = SineRegression(noise_std=0.1).prompts(0, "test", 0, 512)
    told = batch.latents
    wave = told["amplitude"][:, None] * torch.sin(batch.xs[..., 0] + told["phase"][:, None])
    torch.testing.assert_close(batch.ys, wave + told["noise"], rtol=1e-5, atol=1e-5)
    assert batch.xs.abs().max() <= 5
    assert batch.xs.abs().max() > 4.9
    assert 0.1 <= told["amplitude"].min() < 0.2
    assert 4.9 < told["amplitude"].max() <= 5
    assert 3.1 < told["phase"].max() < 3.1416


def test_amplitude_and_phase_are_independent():
    told = SineRegression().prompts(0, "test", 0, 8192).latents
    both = torch.stack([told["amplitude"], told["phase"]])
    assert torch.corrcoef(both)[0, 1].abs() < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smallest_amplitude": 6.0}, "smallest_amplitude must be between 0 and largest_amplitude 5.0; got 6.0"),
        ({"x_limit": 0.0, "n_context": 0}, "n_context must .*; x_limit must"),
        ({"noise_std": -1.0}, "noise_std must"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        SineRegression(**settings)
