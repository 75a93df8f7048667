"""In-context classification: what a prompt holds, its three evaluations, and Bayes for novel classes."""

import math
from dataclasses import replace

import pytest
import torch

from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import ICLClassification
from workbench.tasks.floors import loss_floors, token_losses
from workbench.tasks.icl_classification import accuracy

SMALL = ICLClassification(n_classes=16, n_labels=8, n_pairs=4, n_novel=16, d_content=6, n_slots=11)


def draw(n: int = 500, **settings):
    task = replace(SMALL, **settings)
    return task, task.prompts(0, "test", 0, n)


def test_a_prompt_is_places_beside_items_and_labels():
    task, batch = draw(noise=0.0)
    assert batch.tokens.shape == (500, 9, 17)
    places, content = batch.tokens[..., :11], batch.tokens[..., 11:]
    assert (places.sum(-1) == 1).all()
    at = places.argmax(-1)
    assert ((at[:, 1:] - at[:, :-1]) == 1).all()
    assert set(at[:, 0].tolist()) == {0, 1, 2}, "the offset is drawn"
    torch.testing.assert_close(content[:, ::2], batch.latents["items"])
    labels = batch.latents["labels"]
    assert torch.equal(labels, batch.latents["classes"] % 8)
    assert torch.equal(batch.targets[:, -1], batch.latents["target_class"] % 8)
    assert torch.equal(batch.loss_mask.sum(0), 500 * torch.nn.functional.one_hot(torch.tensor(8), 9))
    one = (labels == 3).nonzero()
    vectors = content[one[:, 0], 2 * one[:, 1] + 1]
    assert (vectors == vectors[0]).all(), "a label is always the same vector"
    means = content[:, ::2][:, :-1][batch.latents["classes"] == 5]
    assert (means == means[0]).all(), "without noise so is a class"
    assert task.model_shape()["d_input"] == 17


@pytest.mark.parametrize("burstiness", [1, 2, 4])
def test_a_bursty_context_holds_each_class_so_often_and_the_targets_too(burstiness):
    _, batch = draw(burstiness=burstiness)
    classes, target = batch.latents["classes"], batch.latents["target_class"]
    counts = (classes[:, :, None] == classes[:, None, :]).sum(-1)
    assert (counts == burstiness).all()
    assert ((classes == target[:, None]).sum(1) == burstiness).all()
    labels = batch.latents["labels"]
    assert ((labels[:, :, None] == labels[:, None, :]).sum(-1) == burstiness).all(), "distinct labels"


def test_elsewhere_context_and_target_are_independent_and_frequencies_are_zipfs():
    task, batch = draw(20_000, p_bursty=0.0, p_novel=0.0, zipf=1.0)
    wanted = 1 / torch.arange(1, 17).double()
    wanted = wanted / wanted.sum()
    for classes in (batch.latents["classes"][:, 0], batch.latents["target_class"]):
        assert (torch.bincount(classes, minlength=16) / 20_000 - wanted).abs().max() < 0.015
    together = (batch.latents["classes"][:, 0] == batch.latents["target_class"]).double().mean().item()
    assert together == pytest.approx(wanted.square().sum().item(), abs=0.012)
    assert task.n_positions == 9


def test_classes_of_a_bursty_context_are_drawn_by_frequency_passing_over_labels_already_there():
    """Two classes of two labels: P(first) by frequency, P(second) among those of the other label."""
    settings = {"n_classes": 4, "n_labels": 2, "n_novel": 4, "n_pairs": 2, "zipf": 1.0, "p_novel": 0.0}
    task = replace(SMALL, **settings)
    batch = task.prompts(0, "test", 0, 30_000)
    p = [1 / k for k in (1, 2, 3, 4)]
    total = sum(p)
    pairs = {}
    for i in range(4):
        others = [j for j in range(4) if j % 2 != i % 2]
        for j in others:
            pair = (min(i, j), max(i, j))
            pairs[pair] = pairs.get(pair, 0.0) + p[i] / total * p[j] / sum(p[o] for o in others)
    found = batch.latents["classes"].sort(1).values
    for (i, j), wanted in pairs.items():
        share = ((found[:, 0] == i) & (found[:, 1] == j)).double().mean().item()
        assert share == pytest.approx(wanted, abs=0.012)


@pytest.mark.parametrize("novel", ["fresh", "pool"])
def test_means_of_novel_classes_are_the_prompts_own_or_those_of_the_pool(novel):
    _, batch = draw(400, p_novel=0.5, noise=0.0, burstiness=2, novel=novel)
    items, classes = batch.latents["items"], batch.latents["classes"]
    every = torch.cat([classes, batch.latents["target_class"][:, None]], 1)
    same = every[:, :, None] == every[:, None, :]
    alike = (items[:, :, None] - items[:, None, :]).abs().amax(-1) < 1e-6
    assert torch.equal(same, alike), "one mean for each class of a prompt"
    for number, is_shared in ((17, novel == "pool"), (3, True)):
        of_class = items[every == number]
        assert len(of_class) > 10
        assert bool((of_class - of_class[0]).abs().max() < 1e-6) == is_shared
    fresh = items[every >= 16]
    assert fresh.square().sum(-1).mean().item() == pytest.approx(1.0, abs=0.15)


def test_novel_classes_are_others_and_come_so_often():
    _, batch = draw(4000, p_novel=0.3)
    is_novel = batch.latents["classes"] >= 16
    assert (is_novel.all(1) | ~is_novel.any(1)).all()
    assert is_novel[:, 0].double().mean().item() == pytest.approx(0.3, abs=0.03)


def test_items_of_a_class_have_the_stated_correlation():
    _, batch = draw(4000, noise=0.5, burstiness=4, d_content=6)
    items = batch.latents["items"]
    products = (items[:, 0] * items[:, 1]).sum(-1).mean().item()
    squares = items[:, 0].square().sum(-1).mean().item()
    assert products / squares == pytest.approx(1 / 1.25, abs=0.05)


@pytest.mark.parametrize("burstiness", [1, 2])
def test_matching_is_calibrated_where_every_prompt_has_classes_of_its_own(burstiness):
    """Over many draws of the class means, E[1(label is right) - said] = 0 at every confidence."""
    right, said = [], []
    for seed in range(150):
        task = replace(SMALL, noise=0.7, p_novel=1.0, burstiness=burstiness, fixed_seed=seed)
        batch = task.prompts(seed, "test", 0, 16)
        told = task.references(batch)["matching"][:, -1].exp()
        right.append(torch.nn.functional.one_hot(batch.targets[:, -1], 8).double().flatten())
        said.append(told.flatten())
    right, said = torch.cat(right), torch.cat(said)
    assert said.max() > 0.9
    for low, high in ((0.01, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        chosen = (said >= low) & (said < high)
        assert (right - said)[chosen].mean().item() == pytest.approx(0.0, abs=0.05)


def test_the_three_evaluations_tell_context_from_weights():
    task = replace(SMALL, noise=0.05)
    parts = task.domains(0, 400)
    assert list(parts) == ["in_context", "shifted", "in_weights"]
    told = {name: task.references(batch) for name, batch in parts.items()}
    found = {name: {p: accuracy(each, parts[name]) for p, each in said.items()} for name, said in told.items()}
    assert found["in_context"]["matching"] > 0.95
    assert found["shifted"]["matching"] > 0.95
    assert found["shifted"]["in_weights"] == 0.0
    assert found["in_weights"]["in_weights"] == 1.0
    assert found["in_weights"]["matching"] < 0.6
    chance = token_losses(told["in_context"]["context"], parts["in_context"])[:, -1]
    assert chance.unique().item() == pytest.approx(math.log(4)), "one of four labels, at random"
    floors = loss_floors(replace(task, p_novel=1.0), 200)
    assert floors["matching"].loss < floors["context"].loss < floors["uniform"].loss
    assert floors["uniform"].loss == pytest.approx(math.log(8))


def test_a_model_says_logits_over_labels_and_is_scored_at_the_target():
    config = TransformerConfig(n_layers=1, d_model=16, n_heads=1, positions="none").shaped(SMALL.model_shape())
    model = Transformer(config)
    batch = SMALL.prompts(0, "test", 0, 3)
    assert model(model.encode(batch)).shape == (3, 9, 8)
    assert accuracy(model.predict(batch), batch) <= 1.0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"n_classes": 12}, "n_classes must be a multiple of n_labels 8"),
        ({"n_novel": 12}, "n_novel must be a multiple of n_labels 8"),
        ({"burstiness": 3}, "burstiness must divide n_pairs 4"),
        ({"n_pairs": 10, "n_slots": 30}, "n_pairs must give at most 8 classes per context"),
        ({"n_slots": 8}, "n_slots must be at least the 9 positions"),
        ({"p_bursty": 1.5}, "p_bursty must be between 0 and 1"),
        ({"noise": -1.0}, "noise must be at least 0"),
        ({"n_labels": 0}, "n_labels must be a whole number of at least 1"),
        ({"label_shift": -1}, "label_shift must be a whole number of at least 0"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(InputError, match=told):
        replace(SMALL, **settings)


def test_a_curriculum_over_coordinates_is_refused():
    with pytest.raises(InputError, match=r"train\.d_start must be left out"):
        SMALL.prompts(0, "test", 0, 2, d_active=3)
