"""Constructed models of the zoo: exact, built on the spot, and runs like any other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.models.constructions import CONSTRUCTIONS
from workbench.opened import Run, open_run
from workbench.zoo import RECIPES, constructing, known, names
from workbench.zoo.recipes import PREFIX

each = pytest.mark.parametrize("name", RECIPES)


@each
def test_every_layer_holds_what_its_algorithm_predicts(name):
    recipe = RECIPES[name]
    off = constructing.exactness(recipe, 32)
    exact = CONSTRUCTIONS[recipe.construction].error == ""
    assert off.float64 < (1e-10 if exact or recipe.n_layers > 1 else 1e-3)
    assert off.float32 < 1e-6 or not exact
    batch = constructing.task_of(recipe).prompts(0, "other", 0, 8).to(dtype=torch.float64)
    assert (constructing.reference(recipe, batch)[-1]).abs().max() > 0.1


def test_another_algorithm_would_be_noticed():
    recipe = RECIPES["constructed-gd-5"]
    wrong = replace(recipe, settings={"step_size": 0.15})
    batch = constructing.task_of(recipe).prompts(0, "other", 0, 8).to(dtype=torch.float64)
    held, expected = constructing.held(constructing.build(recipe), batch), constructing.reference(wrong, batch)
    assert (held - expected).abs().max() > 0.01


def test_recipes_cover_every_construction_under_names_of_their_own():
    assert {recipe.construction for recipe in RECIPES.values()} == set(CONSTRUCTIONS)
    assert all(name.startswith(PREFIX) for name in RECIPES)
    assert not set(RECIPES) & set(names())
    assert known() == [*names(), *RECIPES]


@each
def test_its_name_is_a_run_with_the_same_weights_in_float64(name, tmp_path: Path):
    run = open_run(name, tmp_path)
    assert run.folder.path == tmp_path / name
    built, opened = constructing.build(RECIPES[name]), run.model()
    for (key, one), (_, other) in zip(built.named_parameters(), opened.named_parameters(), strict=True):
        assert torch.equal(one, other), key
    assert run.config == run.config.resolved()
    batch = run.task().prompts(0, "other", 0, 4).to(dtype=torch.float64)
    assert torch.equal(opened.predict(batch), built.predict(batch))
    origin = Run(run.folder).folder.origin or {}
    assert (origin["kind"], origin["construction"]) == ("constructed", RECIPES[name].construction)
    assert open_run(name, tmp_path).folder.path == run.folder.path
