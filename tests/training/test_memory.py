"""Memory: the estimate against what an update really takes, and what is said of runs that do not fit."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tiny_config, tiny_run
from workbench.errors import InputError
from workbench.tasks import LinearRegression
from workbench.training import memory
from workbench.training.checking import check_trainable
from workbench.training.config import RunConfig, preset_config
from workbench.training.distributed import World
from workbench.training.loop import train
from workbench.training.memory import check_fits, largest_group, training_bytes
from workbench.training.room import free_bytes, left_in_groups

MIB = 2**20
DEMO, SMALL = (preset_config("linear_regression", name).resolved() for name in ("demo", "small"))


def changed(config: RunConfig, **settings: Any) -> RunConfig:
    """The config with other settings, wherever they belong."""
    parts = {
        part: replace(
            getattr(config, part),
            **{k: v for k, v in settings.items() if k in getattr(config, part).__dataclass_fields__},
        )
        for part in ("task", "model", "train")
    }
    return RunConfig(**parts)


def limited(monkeypatch: pytest.MonkeyPatch, n_bytes: float) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: n_bytes)


# The estimate


def really_taken(config: RunConfig, n_replicas: int, place: Path) -> int:
    path = place / "config.json"
    path.write_text(json.dumps(config.to_data()))
    command = [sys.executable, "-m", "tests.training.peak", str(path), str(n_replicas)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return int(answer.stdout)


@pytest.mark.parametrize(
    ("config", "n_replicas"),
    [
        (changed(SMALL, n_threads=1), 1),
        pytest.param(changed(DEMO, n_threads=2), 1, marks=pytest.mark.slow),
        pytest.param(changed(DEMO, n_threads=2, d_model=1024, d_mlp=4096), 1, marks=pytest.mark.slow),
        pytest.param(changed(DEMO, n_threads=1, attention="relu", tied_layers=True), 1, marks=pytest.mark.slow),
        pytest.param(changed(DEMO, n_threads=1), 8, marks=pytest.mark.slow),
    ],
    ids=["small", "demo in two threads", "wide", "relu, tied", "eight at once"],
)
def test_the_estimate_is_what_updates_take(config: RunConfig, n_replicas: int, tmp_path: Path):
    share = training_bytes(config, n_replicas) / really_taken(config, n_replicas, tmp_path)
    assert 0.7 < share < 2


def test_weights_gradient_and_optimizer_state_are_counted():
    one_prompt = changed(DEMO, n_batch=1, d_model=512, n_threads=1)
    n_weights = 5 * (4 * 512 * 512 + 2 * 512 * 96)
    found = {name: training_bytes(changed(one_prompt, optimizer=name)) / (4 * n_weights) for name in ("sgd", "adam")}
    assert 4 < found["sgd"] < found["adam"] < 16, "model, weights, gradient, state, temporaries"
    wide = training_bytes(changed(one_prompt, precision="float64"))
    assert wide == pytest.approx(2 * training_bytes(one_prompt), rel=0.1)


def test_prompts_count_in_proportion_and_are_shared_by_processes():
    few, many = (training_bytes(changed(DEMO, n_batch=n)) for n in (1024, 4096))
    assert many == pytest.approx(4 * few, rel=0.1)
    shared = training_bytes(changed(DEMO, n_batch=4096), world=World(1, 4, 4))
    assert few < shared < 1.2 * few, "each draws all prompts but keeps a quarter"


def test_deep_models_and_large_groups_are_extrapolated(monkeypatch: pytest.MonkeyPatch):
    deep = changed(DEMO, n_layers=8, n_threads=1)
    whole, group = training_bytes(deep), training_bytes(DEMO, 3)
    monkeypatch.setattr(memory, "_MOST_LAYERS", 4)
    assert training_bytes(deep) == pytest.approx(whole, rel=0.05)
    assert training_bytes(DEMO, 30) == pytest.approx(10 * group, rel=0.15)


@pytest.mark.parametrize(
    "absurd",
    [
        {"n_batch": 2**53},
        {"d_model": 2**40},
        {"d_mlp": 2**53},
        {"n_layers": 2**53},
        {"n_layers": 2**53, "tied_layers": True},
        {"n_heads": 2**53, "d_head": 1, "d_model": 1, "positions": "alibi"},
        {"n_ctx": 2**40},
        {"n_ctx": 2**45, "positions": "t5"},
        {"n_context": 2**40},
        {"d_input": 2**53},
        {"weights": "pool", "n_pool": 2**53},
    ],
    ids=str,
)
def test_absurd_sizes_are_told_in_one_line(absurd: dict[str, Any]):
    config = preset_config("linear_regression", "demo")
    with pytest.raises(InputError, match=r"needs (more than 8|about [0-9.]+) [MGTPE]iB .*on cpu, which has .* free"):
        check_trainable(changed(config, **absurd).resolved())


def test_other_mistakes_are_not_taken_for_size(monkeypatch: pytest.MonkeyPatch):
    def broken(self: LinearRegression, draws: object, d_active: object = None) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(LinearRegression, "draw", broken)
    with pytest.raises(RuntimeError, match="no such thing"):
        training_bytes(tiny_config())


# What does not fit

SHALLOW = changed(DEMO, n_layers=1)


def test_too_many_prompts_are_refused_with_a_number_that_fits(monkeypatch: pytest.MonkeyPatch):
    config = changed(SHALLOW, n_batch=65536)
    limited(monkeypatch, 2**30)
    with pytest.raises(InputError) as refused:
        check_fits([config])
    start, _, end = str(refused.value).rpartition("n_batch ")
    needed = memory._size(training_bytes(config))
    assert start == f"train.n_batch 65536 needs about {needed} on cpu, which has 1.0 GiB free; "
    most = int(end.removesuffix(" would fit."))
    assert 0.8 * 2**30 < training_bytes(changed(config, n_batch=most)) <= 2**30
    check_fits([changed(config, n_batch=most)])


def test_a_model_that_does_not_fit_with_one_prompt_is_refused_by_its_own_need(monkeypatch: pytest.MonkeyPatch):
    limited(monkeypatch, MIB)
    with pytest.raises(InputError, match=r"^the model needs about \S+ MiB with one prompt at a time on cpu, which has"):
        check_fits([SHALLOW])


def test_a_group_that_does_not_fit_is_refused_with_a_number_that_does(monkeypatch: pytest.MonkeyPatch):
    limited(monkeypatch, 500 * MIB)
    fits = largest_group(SHALLOW)
    assert training_bytes(SHALLOW, fits) <= 500 * MIB < training_bytes(SHALLOW, fits + 1)
    check_fits([SHALLOW] * fits)
    with pytest.raises(InputError, match=rf"^64 models need about \S+ \wiB on cpu, .* 500 MiB free; {fits} would fit"):
        check_fits([SHALLOW] * 64)


@pytest.mark.parametrize(("factor", "fits"), [(0.9, 0), (1.1, 1), (math.inf, 10**9)])
def test_a_group_may_be_of_one_or_none(monkeypatch: pytest.MonkeyPatch, factor: float, fits: int):
    limited(monkeypatch, min(factor * training_bytes(SHALLOW), 2**60))
    assert min(largest_group(SHALLOW), 10**9) == fits


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch):
    config = changed(SHALLOW, n_batch=2048)
    limited(monkeypatch, 1.5 * training_bytes(config))
    check_fits([config])
    check_fits([config], World(0, 2, 1))
    limited(monkeypatch, 0.9 * training_bytes(config))
    with pytest.raises(InputError, match=r"train\.n_batch 2048 needs"):
        check_fits([config], World(0, 2, 2))


def test_processes_beside_each_other_are_as_many_as_memory_holds(monkeypatch: pytest.MonkeyPatch):
    small, large = [tiny_config(n_batch=1)] * 2, [tiny_config(n_batch=10)]
    monkeypatch.setattr(memory, "training_bytes", lambda config, n: 100.0 * config.train.n_batch * n)
    monkeypatch.setattr(memory, "_PROCESS", 50)
    for free, fits in [(0, 1), (1049, 1), (1299, 1), (1300, 2), (1549, 2), (1550, 3), (10_000, 3)]:
        limited(monkeypatch, free)
        assert memory.most_beside([small, large, small], 8) == fits, "1050 bytes and twice 250, the largest first"
        assert memory.most_beside([small, large, small], 2) == min(fits, 2)


def test_a_run_that_does_not_fit_is_neither_made_nor_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    limited(monkeypatch, MIB)
    folder = tiny_run(tmp_path, config=SHALLOW)
    for attempt in (lambda: check_trainable(SHALLOW), lambda: train(folder)):
        with pytest.raises(InputError, match="the model needs about"):
            attempt()
    assert folder.status().state == "new"
    assert not (folder.path / "claim.json").exists()


# What there is


def test_this_machine_has_some_memory_left():
    assert MIB < free_bytes("cpu") < 2**50


def write_group(folder: Path, names: tuple[str, str], limit: object, used: int, reclaimable: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip((*names, "memory.stat"), (limit, used, f"anon 5\n{reclaimable}")):
        (folder / name).write_text(f"{value}\n")


V1, V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")


def version_1(root: Path) -> str:
    write_group(root / "memory" / "a", V1, 2**62, 10, "total_inactive_file 0")
    write_group(root / "memory" / "a" / "b", V1, 1000, 300, "total_inactive_file 100")
    return "9:name=systemd:/\n4:memory:/a/b\n0::/"


def version_2(root: Path) -> str:
    write_group(root / "a", V2, 1200, 500, "inactive_file 100")
    write_group(root / "a" / "b", V2, "max", 300, "inactive_file 0")
    return "0::/a/b"


def inside_a_container(root: Path) -> str:
    """The path is that outside; the root is the container's own group."""
    write_group(root, V2, 1000, 200, "inactive_file 0")
    return "0::/docker/0123"


@pytest.mark.parametrize("made", [version_1, version_2, inside_a_container])
def test_the_limits_of_control_groups_are_respected(tmp_path: Path, made: Callable[[Path], str]):
    own = tmp_path / "own"
    own.write_text(made(tmp_path / "groups"))
    assert min(left_in_groups(tmp_path / "groups", own)) == 800


def test_where_there_are_no_control_groups_nothing_limits(tmp_path: Path):
    assert list(left_in_groups(tmp_path, tmp_path / "own")) == []
    (tmp_path / "own").write_text("0::/a")
    assert list(left_in_groups(tmp_path, tmp_path / "own")) == []
