"""Models of the zoo: as good as the runs they come from, checked when read, runs when asked for."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views.agreement_choice import complete
from dashboards.views.runs import show_curve, show_run
from tests.helpers import tiny_config, tiny_run
from workbench import zoo
from workbench.agreement.config import AgreementConfig
from workbench.analyses import agree
from workbench.errors import InputError
from workbench.files import read_json, write_json
from workbench.opened import open_run
from workbench.runs import RunFolder, run_names
from workbench.tasks import LinearRegression
from workbench.training.building import build_model
from workbench.training.config import run_config_from_data
from workbench.training.loop import train
from workbench.training.loss import mean_loss
from workbench.zoo import adding, shelf
from workbench.zoo.adding import add, law
from workbench.zoo.shelf import CARD, CONFIG, WEIGHTS, read_card, read_weights

QUICK = AgreementConfig(n_fit=64, n_prompts=8, n_resamples=10)


# Adding


def test_a_models_weights_are_those_of_its_run_to_float16(finished: RunFolder, shelved: Path):
    weights, found = finished.weights(), read_weights(read_card("small"))
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], weight, rtol=2**-11, atol=2**-24)  # half a unit in float16's last place
    assert any(not torch.equal(found[name], weights[name]) for name in weights)


def test_a_card_says_what_the_model_is_and_how_it_is_trained_anew(finished: RunFolder, shelved: Path):
    card = read_card("small")
    assert (card.name, card.task, card.notes, card.step) == ("small", "linear_regression", "For tests.", 12)
    assert card.n_params == sum(weight.numel() for weight in finished.weights().values())
    assert card.bytes == (shelved / "small" / WEIGHTS).stat().st_size
    assert card.bytes < 2 * card.n_params + 10_000
    assert run_config_from_data(card.recipe) == tiny_config()
    assert json.loads((shelved / "small" / CONFIG).read_text()) == card.recipe
    assert card.data == "Linear regression (Garg et al. 2022, arXiv:2208.01066): d_input 2, n_context 4"


def test_the_law_names_what_differs_from_the_defaults():
    task = LinearRegression(noise_std=0.5, weights="sparse")
    assert law(task).endswith(": d_input 20, n_context 41, noise_std 0.5, weights sparse")


def test_what_was_measured_is_what_the_model_does(shelved: Path, tmp_path: Path):
    measured = read_card("small").measured
    run = open_run("small", tmp_path / "runs")
    batch = run.task().prompts(0, "zoo", 0, measured["n_prompts"])
    model = run.model()
    with torch.no_grad():
        assert measured["loss"] == pytest.approx(mean_loss(model, batch).item(), rel=1e-5)
    errors = (model.predict(batch) - batch.ys).square().mean(0)
    assert measured["loss_by_position"] == pytest.approx(errors.tolist(), rel=1e-5)
    assert 0 < measured["least_squares_loss"] < measured["loss"]
    assert measured["moved_by_float16"]["mean"] <= 5e-4


def test_a_recipe_trains_the_same_model_anew(shelved: Path, tmp_path: Path, finished: RunFolder):
    folder = tiny_run(tmp_path / "again", config=run_config_from_data(read_card("small").recipe))
    train(folder)
    assert folder.weights_sha256() == finished.weights_sha256()


def test_a_recipe_asks_for_no_accelerator(tmp_path: Path):
    config = tiny_config()
    config = replace(config, train=replace(config.train, device="cuda:3", engine="graph", n_threads=7))
    folder = tiny_run(tmp_path, config=config)
    plain = build_model(tiny_config())
    folder.save_checkpoint(12, dict(plain.named_parameters()), {})
    recipe = add(folder, "small", "", shelf=tmp_path / "shelf").recipe
    assert (recipe["train"]["device"], recipe["train"]["engine"]) == ("cpu", "auto")
    assert recipe["train"]["n_threads"] is None


def test_another_checkpoint_and_more_measurements_are_kept(finished: RunFolder, tmp_path: Path):
    card = add(finished, "early", "", step=4, more={"verdict": "none"}, shelf=tmp_path)
    assert (card.step, card.measured["verdict"]) == (4, "none")


def planted(finished: RunFolder, tmp_path: Path, weights: Mapping[str, Tensor]) -> RunFolder:
    folder = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "planted")))
    folder.save_checkpoint(12, weights, {})
    return folder


def test_a_weight_beyond_float16_is_refused(finished: RunFolder, tmp_path: Path):
    weights = finished.weights()
    weights["embed.weight"] = weights["embed.weight"] + 1e5
    with pytest.raises(InputError, match=r"weights must be finite in float16 to be in the zoo; embed.weight is not"):
        add(planted(finished, tmp_path, weights), "large", "", shelf=tmp_path / "shelf")
    assert not (tmp_path / "shelf").exists()


def test_a_model_for_which_float16_is_too_coarse_is_refused(finished: RunFolder, tmp_path: Path):
    weights = finished.weights()
    weights["unembed.bias"] = torch.full_like(weights["unembed.bias"], 4097.0)  # float16 knows even numbers there
    with pytest.raises(InputError, match=r"float16 must leave the loss alone to four digits.*it moves it by 0.00049"):
        add(planted(finished, tmp_path, weights), "coarse", "", shelf=tmp_path / "shelf")
    assert not (tmp_path / "shelf").exists()


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_BYTES_TOGETHER"])
def test_a_model_that_is_too_large_is_refused(
    finished: RunFolder, shelved: Path, monkeypatch: pytest.MonkeyPatch, limit: str
):
    size = read_card("small").bytes
    monkeypatch.setattr(adding, limit, size if limit == "MOST_BYTES_TOGETHER" else size - 1)
    with pytest.raises(InputError, match=f"a model of the zoo must have at most .*'another' has {size}"):
        add(finished, "another", "", shelf=shelved)


@pytest.mark.parametrize(
    ("name", "told"), [("small", "the zoo must have one model of a name; 'small' is in"), ("../a", "a run name must")]
)
def test_a_name_that_cannot_be_is_refused(finished: RunFolder, shelved: Path, name: str, told: str):
    with pytest.raises(InputError, match=told):
        add(finished, name, "", shelf=shelved)


def test_a_shelf_that_cannot_be_written_is_told(finished: RunFolder, tmp_path: Path):
    (tmp_path / "shelf").write_text("")
    with pytest.raises(InputError, match=r"shelf/small must be writable"):
        add(finished, "small", "", shelf=tmp_path / "shelf")


# Runs of models


def test_a_name_of_the_zoo_is_opened_as_a_run(shelved: Path, tmp_path: Path):
    root = tmp_path / "runs"
    run = open_run("small", root)
    assert run.folder.path == root / "small"
    assert run_names(root) == ["small"]
    assert run.task() == tiny_config().task
    weights = read_weights(read_card("small"))
    assert all(torch.equal(p, weights[name]) for name, p in run.model().named_parameters())
    assert run.folder.checkpoint_steps() == [12]
    status = run.folder.status()
    assert (status.state, status.step, status.n_steps) == ("finished", 12, 12)
    assert run.folder.metrics() == []


def test_results_of_a_model_are_kept_like_those_of_any_run(shelved: Path, tmp_path: Path):
    root = tmp_path / "runs"
    record = agree(open_run("small", root), QUICK)
    assert record["run"] == "small"
    told: list[str] = []
    assert agree(open_run("small", root), QUICK, tell=told.append) == record
    assert told == []


def test_the_environment_says_which_model_it_is(shelved: Path, tmp_path: Path):
    card = read_card("small")
    origin = open_run("small", tmp_path / "runs").folder.origin
    assert origin is not None
    assert (origin["kind"], origin["name"], origin["sha256"]) == ("zoo", "small", card.sha256)
    assert origin["trained"] == card.trained


def test_a_run_of_the_user_goes_before_a_model_of_the_same_name(shelved: Path, tmp_path: Path):
    folder = tiny_run(tmp_path / "runs", "small", seed=5, n_steps=1)
    train(folder)
    assert open_run("small", tmp_path / "runs").config.train.seed == 5
    damaged = tmp_path / "others" / "small"
    damaged.mkdir(parents=True)
    with pytest.raises(InputError, match=r"no run at .*small"):
        open_run("small", tmp_path / "others")
    assert list(damaged.iterdir()) == []


def test_a_path_is_not_a_name(shelved: Path, tmp_path: Path):
    in_the_zoo = re.escape(f"In the zoo: {', '.join(['small', *zoo.RECIPES])}.")
    with pytest.raises(InputError, match=rf"no run at .*known in .*: none\. {in_the_zoo}$"):
        open_run(tmp_path / "runs" / "small")
    with pytest.raises(InputError, match=rf"{in_the_zoo}$"):
        open_run("smal", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_model_of_the_zoo_cannot_be_trained_on(shelved: Path, tmp_path: Path):
    with pytest.raises(InputError, match="it came as weights alone"):
        train(open_run("small", tmp_path / "runs").folder)


def test_a_run_folder_that_cannot_be_written_is_told(shelved: Path, tmp_path: Path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match=r"runs/small must be writable"):
        open_run("small", tmp_path / "runs")


def test_another_process_may_be_faster(shelved: Path, tmp_path: Path):
    path = tmp_path / "runs" / "small"
    first = zoo.get("small", path)
    assert zoo.get_once("small", path).path == first.path
    with pytest.raises(InputError, match="run 'small' exists already"):
        zoo.get("small", path)


def test_processes_that_open_a_model_at_once_all_get_it(shelved: Path, tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from workbench.zoo import shelf; shelf.SHELF = Path(sys.argv[1]); "
        "from workbench.opened import open_run; print(open_run('small', sys.argv[2]).folder.weights_sha256())"
    )
    words = [sys.executable, "-c", program, str(shelved), str(tmp_path / "runs")]
    here = Path(__file__).parents[2]
    started = [subprocess.Popen(words, cwd=here, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {process.communicate(timeout=120)[0] for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert told == {open_run("small", tmp_path / "runs").folder.weights_sha256() + "\n"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small"]


# The app


def test_the_app_opens_a_model_by_its_name(shelved: Path, tmp_path: Path):
    store = RunStore(tmp_path / "runs")
    assert store.names() == []
    assert store.checkpoints("small") == [12]
    assert store.names() == ["small"]
    assert store.row("small").state == "finished"
    assert store.metrics("small") == []
    for name in ("smal", "../small", "small\0", ""):
        with pytest.raises(InputError):
            store.folder(name)


def test_pages_show_a_model_that_the_address_names(shelved: Path, tmp_path: Path):
    store = RunStore(tmp_path / "runs")
    _, title, told = show_run(store, "?run=small", None)
    assert "small" in str(title)
    assert "Linear regression" in str(told)
    assert show_curve(store, "?run=small", None, "light") is not None
    assert complete(store, PageState.of("?run=small")).checkpoint == 12


# Damage


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (WEIGHTS, b"junk", r"model.safetensors must match the checksum on its card; it was changed or damaged"),
        (WEIGHTS, None, r"model.safetensors must be readable; No such file"),
        (CONFIG, b"{", r"config.json must be JSON"),
        (CONFIG, b"{}", r"config.json must hold the recipe on the card; it differs. Reinstall"),
        (CONFIG, None, r"config.json must be readable"),
        (CARD, b"{}", r"card.json must match its checksum"),
        (CARD, b"junk", r"card.json must be JSON"),
    ],
)
def test_a_damaged_file_is_one_clear_line(shelved: Path, tmp_path: Path, name: str, content: bytes | None, told: str):
    path = shelved / "small" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        open_run("small", tmp_path / "runs")
    assert run_names(tmp_path / "runs") == []


def test_every_byte_of_the_weights_is_checked(shelved: Path):
    card = read_card("small")
    path = shelved / "small" / WEIGHTS
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match="must match the checksum on its card"):
            read_weights(card)
    path.write_bytes(content)
    read_weights(card)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "other"}, "card.json must be the card of 'small'; it is of 'other'"),
        ({"n_params": 0}, "must be the card of a model; its n_params cannot be so"),
        ({"recipe": []}, "its recipe cannot be so"),
        ({"measured": {}}, "its measured cannot be so"),
        ({"more": 1}, "it must have the entries name, task"),
        ({"sha256": None}, "its sha256 cannot be so"),
        (None, "must have schema 'mesascope/zoo-card/1'; got None"),
    ],
)
def test_a_card_of_something_else_is_refused(shelved: Path, change: dict[str, Any] | None, told: str):
    path = shelved / "small" / CARD
    data = read_json(path)
    write_json(path, {} if change is None else {**data, "model": {**data["model"], **change}})
    with pytest.raises(InputError, match=told):
        read_card("small")


def test_weights_that_are_none_are_refused(shelved: Path):
    from hashlib import sha256

    path = shelved / "small" / WEIGHTS
    path.write_bytes(b"junk")
    card = replace(read_card("small"), sha256=sha256(b"junk").hexdigest())
    with pytest.raises(InputError, match="must be a safetensors file of weights"):
        read_weights(card)


def test_an_unknown_model_is_refused_with_the_known_ones(shelved: Path):
    with pytest.raises(InputError, match=r"Unknown model of the zoo 'smal'. Did you mean 'small'\? Known: small"):
        read_card("smal")


def test_half_written_models_are_none(shelved: Path):
    (shelved / ".tmp-00000000-1-1-half").mkdir()
    (shelved / "half").mkdir()
    assert zoo.names() == ["small"]
    assert [card.name for card in zoo.cards()] == ["small"]


def test_no_shelf_is_an_empty_zoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(shelf, "SHELF", tmp_path / "nothing")
    assert zoo.names() == []
    with pytest.raises(InputError, match="Known: none"):
        read_card("small")


def test_listing_the_zoo_loads_no_torch():
    program = "import sys, workbench.zoo as z; z.cards(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
