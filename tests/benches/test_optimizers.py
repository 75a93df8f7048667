"""The comparison of update rules: the same prompts, the same time, and what the table says."""

from dataclasses import replace

import pytest

from workbench.benches import BENCHES, optimizers
from workbench.benches.optimizers import Outcome, Setting
from workbench.training.config import preset_config

TINY = Setting("demo", {"n_batch": 2}, 0.2, (1.0, 2.0), 2)


def test_every_rule_is_trained_with_every_learning_rate_for_the_same_time(monkeypatch: pytest.MonkeyPatch):
    ms = {"adam": 50.0, "muon": 100.0}
    monkeypatch.setattr(optimizers, "_milliseconds", lambda configs: [ms[config.train.optimizer] for config in configs])
    monkeypatch.setattr(optimizers, "_N_PROMPTS", 8)
    notes: list[str] = []
    found = optimizers.outcomes(TINY, notes.append)
    assert [(each.optimizer, each.n_steps, each.lr) for each in found] == [
        ("adam", 4, 6.5e-3),
        ("adam", 4, 13e-3),
        ("muon", 2, 6.5e-3),
        ("muon", 2, 13e-3),
    ]
    assert all(len(each.errors) == 2 and len(each.errors[0]) == 3 for each in found)
    assert len({error for each in found for errors in each.errors for error in errors}) == 24, "no model is another's"
    assert len(notes) == 2


def test_updates_are_timed_alone_and_in_turn(monkeypatch: pytest.MonkeyPatch):
    first, second = [9.0, 0.5, 0.5, 7.0], [9.0, 1.0, 5.0, 1.0]
    taken = [took for pair in zip(first, second, strict=True) for took in pair]
    times = iter(time for start, took in enumerate(taken) for time in (100.0 * start, 100.0 * start + took))
    monkeypatch.setattr(optimizers.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(optimizers, "_TIMED", 2)
    monkeypatch.setattr(optimizers, "_ROUNDS", 3)
    config = preset_config("linear_regression", "demo").resolved()
    config = replace(config, train=replace(config.train, n_batch=2))
    assert optimizers._milliseconds([config] * 2) == [250.0, 500.0], "in turn; the first round does not count"


def test_schedules_are_stretched_with_the_updates():
    config = preset_config("linear_regression", "demo")
    train = optimizers.stretched(config, 2 * config.train.n_steps).train
    assert (train.n_steps, train.warmup_steps, train.d_every) == (2700, 136, 66)
    assert optimizers.stretched(config, 1).train.d_every == 1


def test_the_table_has_mean_and_range_over_seeds_and_says_nan():
    outcome = Outcome("demo", "adam", 1e-3, 5.0, 400, [4, 6, 11], [[0.1, 0.2, 0.3], [0.3, 0.2, float("nan")]])
    found = optimizers.findings([outcome])
    (sheet,) = found.sheets
    assert sheet.title == "preset demo, 2 s of training each"
    assert sheet.rows == [["adam", "0.001", "5.00", "400", "0.2 (0.1 to 0.3)", "0.2 (0.2 to 0.2)", sheet.rows[0][-1]]]
    assert "nan" in sheet.rows[0][-1]
    assert found.data["outcomes"][0]["errors"] == outcome.errors
    assert BENCHES["optimizers"].run is optimizers.run
