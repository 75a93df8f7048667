"""What the benchmark of training steps compares."""

import torch

from tests.helpers import tiny_config
from workbench.benches import train
from workbench.benches.accelerator import PlainRegressor
from workbench.training.building import build_model
from workbench.training.config import RunConfig


def n_weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_references_have_the_same_weights_and_learn():
    config: RunConfig = tiny_config()
    with torch.random.fork_rng(devices=[]):  # it draws from the global generator
        reference = PlainRegressor(config)
    assert n_weights(reference) == n_weights(build_model(config))
    before = [parameter.clone() for parameter in reference.parameters()]
    step = train._plain(reference, config)
    step()
    step()
    assert all((old != new).any() for old, new in zip(before, reference.parameters(), strict=True))


def test_rows_have_time_ratio_and_arithmetic():
    notes: list[str] = []
    rows = train.cpu_rows("demo", notes.append, n_rounds=1)
    assert len(rows) == 2
    for row in rows:
        assert min(row.ours_ms, row.reference_ms) > 0
        assert row.gflops is not None
        assert abs(row.gflops * row.ours_ms * 1e6 / (row.flops or 1) - 1) < 1e-9
