"""Constructed models of the zoo: exact, built on the spot, and runs like any other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.models.constructions import CONSTRUCTIONS, TOKEN_CONSTRUCTIONS
from workbench.opened import Run, open_run
from workbench.zoo import RECIPES, constructing, exactness, known, names
from workbench.zoo.recipes import PREFIX

each = pytest.mark.parametrize("name", RECIPES)
vectors = pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].construction in CONSTRUCTIONS])


@each
def test_every_layer_holds_what_its_algorithm_predicts(name):
    recipe = RECIPES[name]
    off = exactness.exactness(recipe, 32)
    error = getattr(constructing.construction_of(recipe), "error", "")
    at_most = {"constructed-debiased-gd-1": (1e-3, 1e-3), "constructed-debiased-gd-5-float32": (1e-6, 2e-6)}
    float64, float32 = at_most.get(name, (1e-10, 1e-5 if error else 1e-6))
    assert off.float64 < float64
    assert off.float32 < float32


@vectors
def test_references_say_something(name):
    batch = constructing.task_of(RECIPES[name]).prompts(0, "other", 0, 8).to(dtype=torch.float64)
    assert exactness.reference(RECIPES[name], batch)[-1].abs().max() > 0.1


def test_the_backcopy_model_says_what_the_task_knows():
    recipe = RECIPES["constructed-bigram-backcopy"]
    task, model = constructing.task_of(recipe), constructing.build(recipe)
    batch = task.prompts(0, "other", 0, 16)
    oracle = task.references(batch)["oracle"]
    assert (model(batch.tokens).softmax(-1) - oracle.exp()).abs().max() < 1e-10


def test_the_induction_model_foretells_repeats():
    recipe = RECIPES["constructed-induction"]
    task, model = constructing.task_of(recipe), constructing.build(recipe)
    batch = task.prompts(0, "other", 0, 16)
    knows = torch.arange(64) > batch.latents["block_length"][:, None]  # of the repeat's first token nothing tells
    losses = model.losses(model(batch.tokens), batch)
    assert losses[knows].max() < 1e-10
    assert losses[~knows].mean() > 3


def test_another_algorithm_would_be_noticed():
    recipe = RECIPES["constructed-gd-5"]
    wrong = replace(recipe, settings={"step_size": 0.15})
    batch = constructing.task_of(recipe).prompts(0, "other", 0, 8).to(dtype=torch.float64)
    held, expected = exactness.held(constructing.build(recipe), batch), exactness.reference(wrong, batch)
    assert (held - expected).abs().max() > 0.01


def test_recipes_cover_every_construction_under_names_of_their_own():
    assert {recipe.construction for recipe in RECIPES.values()} == {*CONSTRUCTIONS, *TOKEN_CONSTRUCTIONS}
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
    batch = run.task().prompts(0, "other", 0, 4).to(None, torch.float64)
    assert torch.equal(opened.predict(batch), built.predict(batch))
    origin = Run(run.folder).folder.origin or {}
    assert (origin["kind"], origin["construction"]) == ("constructed", RECIPES[name].construction)
    assert open_run(name, tmp_path).folder.path == run.folder.path
