"""What the benchmark of reference algorithms compares: ways to the same numbers."""

import numpy as np
import pytest
import torch

from workbench import baselines
from workbench.benches import BENCHES, references
from workbench.benches.references import Sizes
from workbench.tasks import LinearRegression

TINY = Sizes(n_prompts=6, n_context=7, d_input=3, n_steps=5, n_lasso=4, timed=3, timed_anew=2)


@pytest.fixture(scope="module")
def batch():
    return LinearRegression(d_input=3, n_context=7).prompts(0, "tiny", 0, 4).to(dtype=torch.float64)


@pytest.mark.parametrize("other", [references.batched, references.loop, references.loop_anew])
def test_every_way_gives_the_same_predictions(batch, other):
    for found, expected in zip(other(batch, 5), references.ours(batch, 5), strict=True):
        np.testing.assert_allclose(np.asarray(found), expected.numpy(), rtol=1e-9, atol=1e-9)


def test_scikit_learns_lasso_gives_the_same_but_for_its_tolerance(batch):
    ours = baselines.predict("lasso", batch.xs, batch.ys, alpha=0.01)
    np.testing.assert_allclose(references.lasso_loop(batch), ours.numpy(), atol=0.05)


def test_rows_are_scaled_to_all_prompts(monkeypatch):
    times = iter(range(1000))
    monkeypatch.setattr(references.time, "perf_counter", lambda: float(next(times)))
    noted = []
    rows = references.rows(TINY, 2, noted.append)
    assert [row.reference_ms for row in rows] == [2000.0, 3000.0, 1000.0, 4000.0 / 3]
    assert {row.ours_ms for row in rows} == {1000.0}
    assert "3 prompts timed" in rows[0].reference
    assert len(noted) == 2
    assert BENCHES["references"].run is references.run
