"""Every model that comes with the package: whole, small, and as good as its card says."""

import importlib.resources
import json
import tomllib
from pathlib import Path

import pytest
import torch

import workbench
from workbench import zoo
from workbench.cli import main
from workbench.opened import Run
from workbench.tasks import TASKS
from workbench.training.config import run_config_from_data
from workbench.training.loss import mean_loss
from workbench.zoo.shelf import CARD, CONFIG, MOST_BYTES, MOST_BYTES_TOGETHER, OVER_TRAINING, WEIGHTS

ROOT = Path(__file__).parents[2]


def test_the_zoo_has_models():
    assert zoo.names()


@pytest.mark.parametrize("name", zoo.names())
def test_a_model_does_what_its_card_says(name: str, tmp_path: Path):
    card = zoo.read_card(name)
    run = Run(zoo.get(name, tmp_path / name))
    assert run.config == run_config_from_data(card.recipe) == run.config.resolved()
    assert card.task in TASKS
    model, n_prompts = run.model(), 256
    assert sum(parameter.numel() for parameter in model.parameters()) == card.n_params
    batch = run.task().prompts(run.config.train.seed, "zoo", 0, n_prompts)
    with torch.no_grad():
        loss = mean_loss(model, batch).item()
    # A mean over 256 of the 2048 prompts of the card.
    assert loss == pytest.approx(card.measured["loss"], rel=0.25)


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_says_enough(name: str):
    card = zoo.read_card(name)
    assert card.data
    assert card.notes
    assert {"loss", "least_squares_loss", "n_prompts", "checkpoint", "moved_by_float16"} <= card.measured.keys()
    assert card.bytes <= MOST_BYTES


@pytest.mark.parametrize("name", zoo.names())
def test_a_table_over_training_is_of_the_models_own_layers(name: str):
    card = zoo.read_card(name)
    table = zoo.read_over_training(card)
    for row in table["rows"] if table else ():
        for reading in (row, row["final_norm"] or row):
            assert [layer["layer"] for layer in reading["layers"]] == list(range(card.recipe["model"]["n_layers"] + 1))
            assert reading["trend"].keys() == reading["layers"][0]["families"].keys() == {"gd", "newton", "cg"}


def test_programs_are_told_of_every_model(capsys: pytest.CaptureFixture[str]):
    assert main(["zoo", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "mesascope/zoo/1"
    assert [model["name"] for model in document["models"]] == zoo.names()
    for model in document["models"]:
        assert {"name", "task", "n_params", "bytes", "sha256", "recipe", "measured"} <= model.keys()


def test_a_name_is_accepted_wherever_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    name = zoo.names()[0]
    assert workbench.open_run(name).folder.path == Path("runs") / name
    assert workbench.open_run(f"runs/{name}").model()


def test_all_models_together_are_small():
    assert sum(card.bytes for card in zoo.cards()) <= MOST_BYTES_TOGETHER


@pytest.mark.parametrize("name", zoo.names())
def test_a_model_is_found_among_the_packages_resources(name: str):
    folder = importlib.resources.files("workbench.zoo") / "models" / name
    files = [CARD, CONFIG, WEIGHTS, *([OVER_TRAINING] if zoo.read_card(name).over_training else [])]
    assert sorted(file.name for file in folder.iterdir()) == sorted(files)
    assert (folder / WEIGHTS).stat().st_size == zoo.read_card(name).bytes  # type: ignore[attr-defined]


def test_the_wheel_takes_the_models_along():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "workbench" in wheel["packages"]
    assert "workbench/zoo/models/**" in wheel["artifacts"]
