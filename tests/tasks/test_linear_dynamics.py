"""Sequences that a hidden matrix moves on."""

import pytest
import torch

from tests.contracts.test_tasks import is_mean
from workbench.errors import InputError
from workbench.tasks import LinearDynamics
from workbench.theory.autoregressive import constant_start, gaussian_start, sparse_start

STARTS = ["gaussian", "sparse", "signs", "ones", "sphere"]


def draw(n: int = 64, **settings):
    return LinearDynamics(**{"d_input": 4, "n_context": 6, **settings}).prompts(0, "test", 0, n)


@pytest.mark.parametrize("matrix", ["orthogonal", "rotations", "general"])
def test_each_state_is_the_matrix_times_the_one_before_plus_noise(matrix):
    batch = draw(matrix=matrix, noise_std=0.3)
    moved = torch.einsum("boi,bci->bco", batch.latents["w"], batch.xs) + batch.latents["noise"]
    torch.testing.assert_close(batch.ys, moved, rtol=1e-4, atol=1e-4)
    assert batch.latents["noise"].std().item() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("matrix", ["orthogonal", "rotations"])
def test_matrices_that_keep_lengths_do(matrix):
    batch = draw(matrix=matrix)
    w = batch.latents["w"]
    torch.testing.assert_close(w @ w.mT, torch.eye(4).expand(64, 4, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(batch.ys.norm(dim=-1), batch.xs.norm(dim=-1), rtol=1e-4, atol=0)


def test_rotations_turn_each_complex_coordinate_by_a_phase_of_its_own():
    batch = draw(matrix="rotations", n=4096)
    states = torch.view_as_complex(batch.xs.unflatten(-1, (2, 2)).contiguous())
    assert (states[:, 0].imag == 0).all(), "the start is real"
    turns = states[:, 1:] / states[:, :-1]
    torch.testing.assert_close(turns, turns[:, :1].expand_as(turns), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(turns[:, 0].abs(), torch.ones(4096, 2), rtol=1e-3, atol=1e-3)
    angles = turns[:, 0].angle()
    assert is_mean(torch.stack([angles.cos(), angles.sin(), (2 * angles).cos()]).permute(1, 2, 0).double(), 0.0)
    assert torch.corrcoef(angles.T)[0, 1].abs() < 0.08


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("matrix", ["orthogonal", "rotations"])
def test_starts_have_the_moments_that_closed_forms_ask_for(start, matrix):
    task = LinearDynamics(d_input=6, n_context=1, matrix=matrix, start=start, start_scale=0.8)
    first = task.prompts(0, "test", 0, 2**14).xs[:, 0].double()
    first = first[:, ::2] if matrix == "rotations" else first
    assert task.n_free == first.shape[1]
    four, six, mixed = task.start_moments()
    square = first.square()
    others = (square**2).sum(-1, keepdim=True) - square**2
    assert is_mean(square**2, four)
    assert is_mean(square**3, six)
    assert is_mean(square * others, mixed)
    assert is_mean(first, 0.8 if start == "ones" else 0.0)


def test_moments_are_those_of_the_closed_forms_own():
    for start, known in (("gaussian", gaussian_start(5, 0.64)), ("sparse", sparse_start(5, 0.8))):
        assert LinearDynamics(matrix="rotations", start=start, start_scale=0.8).start_moments() == pytest.approx(known)
    task = LinearDynamics(matrix="rotations", start="ones", start_scale=0.8)
    assert task.start_moments() == pytest.approx(constant_start(5, 0.8))
    law = task.law()
    assert (law.d_state, law.n_states, law.dynamics, law.sign_symmetric) == (5, 50, "diagonal_unitary", False)
    assert LinearDynamics(matrix="rotations", noise_std=0.1).law().dynamics == "other"


def test_a_curriculum_leaves_the_other_coordinates_zero():
    task = LinearDynamics(d_input=4, n_context=6, matrix="rotations", noise_std=0.1)
    batch = task.prompts(0, "test", 0, 8, d_active=2)
    assert (batch.xs[..., 2:] == 0).all()
    assert (batch.ys[..., 2:] == 0).all()
    assert (batch.ys[..., :2] != 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matrix": "rotations", "d_input": 5}, "d_input must be even under matrix 'rotations'; got 5"),
        ({"start_scale": 0.0, "matrix_scale": -1.0}, "matrix_scale must .*; start_scale must"),
        ({"n_context": 0}, "n_context must"),
        ({"noise_std": -1.0}, "noise_std must"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        LinearDynamics(**settings)
