"""The probe benchmark compares equal work."""

import numpy as np

from workbench.benches import BENCHES
from workbench.benches.probes import Sizes, data, loop, ours, rows

TINY = Sizes(n_sites=4, width=6, n_strengths=3, n_targets=2, n_train=60, n_validation=30, n_timed=2)


def test_both_sides_find_the_same_errors():
    activations, targets = data(TINY)
    strengths = [1e-3, 0.1, 10.0]
    found = ours(activations, targets, strengths, TINY)[:, : TINY.n_timed]
    np.testing.assert_allclose(found, loop(activations, targets, strengths, TINY, np.float64), rtol=1e-6)


def test_it_tells_a_row_for_each_precision_of_the_loop():
    notes: list[str] = []
    table = rows(TINY, 1, notes.append)
    assert [row.reference[-7:] for row in table] == ["float64", "float32"]
    assert all(row.ours_ms > 0 and row.reference_ms > 0 for row in table)
    assert len(notes) == 1
    assert "probes" in BENCHES
