"""Several labels of one input."""

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import MultiTaskRegression


def test_each_label_uses_its_own_coordinates():
    used = MultiTaskRegression().used()
    assert used.tolist() == [[True] * 4 + [False] * 2, [False] * 2 + [True] * 4]
    assert MultiTaskRegression(d_input=5, n_tasks=3, n_used=1).used().int().argmax(1).tolist() == [0, 2, 4]
    assert MultiTaskRegression(n_tasks=1, n_used=6).used().all()
    batch = MultiTaskRegression(noise_std=0.5).prompts(0, "test", 0, 256)
    told = batch.latents
    assert ((told["w"] != 0) == used).all()
    clean = torch.stack([(batch.xs * told["w"][:, task, None]).sum(-1) for task in (0, 1)], -1)
    torch.testing.assert_close(batch.ys, clean + told["noise"], rtol=1e-5, atol=1e-5)


def test_labels_do_not_correlate():
    batch = MultiTaskRegression(noise_std=0.5).prompts(0, "test", 0, 4096)
    assert torch.corrcoef(batch.ys.flatten(0, 1).T)[0, 1].abs() < 0.03


def test_a_law_of_one_label_is_linear_and_of_several_says_so():
    assert MultiTaskRegression(n_tasks=1).law().target == "linear"
    assert MultiTaskRegression().law().target == "2 linear functions"
    assert MultiTaskRegression(n_used=6, noise_std=0.5).bayes_ridge() == pytest.approx(0.25)
    assert MultiTaskRegression(noise_std=0.5).bayes_ridge() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_used": 7}, "n_used must be a whole number from 1 to d_input 6; got 7"),
        ({"n_tasks": 0, "w_scale": 0.0}, "n_tasks must .*; w_scale must"),
        ({"noise_std": -1.0}, "noise_std must"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        MultiTaskRegression(**settings)
