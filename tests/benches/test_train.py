"""What the benchmark of training steps compares."""

from collections.abc import Mapping

import pytest
import torch

from tests.helpers import tiny_config
from workbench.benches import accelerator, train
from workbench.benches.accelerator import PlainRegressor
from workbench.training.building import build_model
from workbench.training.config import RunConfig
from workbench.training.engines import Started
from workbench.training.program import Program


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


def test_a_row_of_an_accelerator_names_the_engine_that_was_timed(monkeypatch: pytest.MonkeyPatch):
    engines = {"float32": "graph", "tf32": "eager (the capture failed: no compiler)", "bf16": "graph"}
    program = Program([tiny_config()])

    def started(configs: list[RunConfig]) -> Started:
        return Started(program, program.update, engines[configs[0].train.precision])

    def timed(steps: Mapping[str, accelerator.Step], note: object) -> dict[str, float]:
        return {name: float(i + 1) for i, name in enumerate(steps)}

    for name, stand_in in {
        "start": started,
        "_measured": timed,
        "_eager": lambda model, config: program.update,
    }.items():
        monkeypatch.setattr(accelerator, name, stand_in)
    for name in ("GPT2Regressor", "PlainRegressor"):
        monkeypatch.setattr(accelerator, name, lambda config: None)
    rows = accelerator.rows(lambda words: None)
    assert [row.name.partition("82 tokens, ")[2] for row in rows] == [f"{engines[p]}, {p}" for p in engines] * 2
    assert [(row.ours_ms, row.reference_ms) for row in rows] == [(i, other) for other in (4, 5) for i in (1, 2, 3)]
    exact, tf32, low = (row.bytes for row in rows[:3])
    assert exact == tf32
    assert low is not None
    assert exact is not None
    assert exact / 2 < low < exact
