"""Directions in whitened coordinates: what LEACE promises, the least move, and what is random about the null."""

import pytest
import torch

from probes.directions import Steering, Whitened, orthonormal, rank
from probes.methods.ridge import Spectrum
from probes.sums import Sums

WIDTH, COLUMNS, N = 7, 3, 400


def drawn(seed=0, n_sites=2, lacking=0):
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(n_sites, WIDTH - lacking, WIDTH, generator=g, dtype=torch.float64)
    source = torch.randn(n_sites, N, WIDTH - lacking, generator=g, dtype=torch.float64)
    rows = source @ mixing + 3.0
    targets = source[0, :, :COLUMNS] + 0.5 * torch.randn(N, COLUMNS, generator=g, dtype=torch.float64)
    return rows, targets


def erased(rows, white, directions):
    return rows - (rows - white.mean[:, None]) @ white.eraser(directions).mT


def centred(values):
    return values - values.mean(-2, keepdim=True)


@pytest.mark.parametrize("lacking", [0, 2])
def test_after_erasure_no_linear_probe_beats_the_mean(lacking):
    rows, targets = drawn(lacking=lacking)
    white = Whitened.of(Spectrum.of(Sums.of(rows, targets)))
    assert white.rank.tolist() == [WIDTH - lacking] * 2
    left = erased(rows, white, white.telling())
    for site in range(2):
        fit = torch.linalg.lstsq(centred(left[site]), centred(targets), rcond=1e-9, driver="gelsd").solution
        said = centred(left[site]) @ fit
        explained = 1 - (centred(targets) - said).square().sum() / centred(targets).square().sum()
        assert abs(explained) < 1e-12
        before = torch.linalg.lstsq(centred(rows[site]), centred(targets), rcond=1e-9, driver="gelsd").solution
        unexplained = (centred(targets) - centred(rows[site]) @ before).square().sum() / centred(targets).square().sum()
        assert site == 1 or 1 - unexplained > 0.5
    torch.testing.assert_close(left.mean(1), rows.mean(1))


def test_erasure_changes_least_of_all_that_erase():
    """The stationarity condition of the quadratic programme, and every other eraser tried changes more."""
    rows, targets = drawn(n_sites=1)
    white = Whitened.of(Spectrum.of(Sums.of(rows, targets)))
    matrix = white.eraser(white.telling())[0]
    x, z = centred(rows[0]), centred(targets)
    covariance, cross = x.mT @ x / N, x.mT @ z / N
    torch.testing.assert_close(matrix @ cross, cross)  # erases
    free = torch.linalg.svd(cross, full_matrices=True)[0][:, COLUMNS:]  # A + G free^T erases too
    torch.testing.assert_close(
        matrix @ covariance @ free, torch.zeros(WIDTH, WIDTH - COLUMNS).double(), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(matrix @ matrix, matrix)
    assert torch.linalg.matrix_rank(matrix).item() == COLUMNS


def test_erasure_is_that_of_the_authors_own_code():
    """Checked against concept-erasure 0.2.4 without shrinkage."""
    leace = pytest.importorskip("concept_erasure")
    rows, targets = drawn(n_sites=1)
    white = Whitened.of(Spectrum.of(Sums.of(rows, targets)))
    fitter = leace.LeaceFitter(WIDTH, COLUMNS, dtype=torch.float64, shrinkage=False).update(rows[0], targets)
    torch.testing.assert_close(erased(rows, white, white.telling())[0], fitter.eraser(rows[0]), rtol=1e-9, atol=1e-9)


def test_the_probe_says_what_is_wanted_after_the_shortest_whitened_move():
    rows, targets = drawn()
    found = Spectrum.of(Sums.of(rows, targets))
    white, probe = Whitened.of(found), found.solution(torch.full((2, COLUMNS), 1e-3, dtype=torch.float64))
    steering = Steering.of(white, probe.weights)
    wanted = torch.randn(N, COLUMNS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    move = (wanted - probe(rows)) @ steering.map(white, steering.directions).mT
    torch.testing.assert_close(probe(rows + move), wanted.expand(2, -1, -1))
    for site in range(2):  # the published closed form, written another way
        covariance, b = centred(rows[site]).mT @ centred(rows[site]) / N, probe.weights[site]
        closed = covariance @ b @ torch.linalg.inv(b.mT @ covariance @ b)
        torch.testing.assert_close(steering.map(white, steering.directions)[site], closed)


def test_random_directions_have_equal_rank_and_equal_lengths_and_no_preferred_sign():
    rows, targets = drawn(n_sites=1, lacking=1)
    found = Spectrum.of(Sums.of(rows, targets))
    white = Whitened.of(found)
    steering = Steering.of(white, found.solution(torch.zeros(1, COLUMNS).double() + 1e-9).weights)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(COLUMNS, generator=generator, dtype=torch.float64)
    own = white.inverse[0] @ steering.map(white, steering.directions)[0] @ wanted
    seen = []
    for _ in range(400):
        directions = white.random(steering.directions, generator)
        assert rank(directions).item() == COLUMNS
        move = white.inverse[0] @ steering.map(white, directions)[0] @ wanted
        torch.testing.assert_close(move.norm(), own.norm())
        seen.append(move / own.norm())
    mean = torch.stack(seen).mean(0)
    assert mean.norm().item() < 4 / 400**0.5


def test_directions_that_lack_rank_are_as_many_as_there_are():
    columns = torch.randn(1, WIDTH, COLUMNS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns[..., 2] = columns[..., 0] - 2 * columns[..., 1]
    found = orthonormal(columns)
    assert rank(found).item() == 2
    torch.testing.assert_close(found @ found.mT @ columns, columns)
    assert rank(orthonormal(torch.zeros_like(columns))).item() == 0
