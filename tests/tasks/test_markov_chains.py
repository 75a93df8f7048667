"""Markov chains of every prompt's own: the law, and counting against integrals over all chains."""

import math
from itertools import pairwise

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import MarkovChains
from workbench.tasks.floors import loss_floors


@pytest.mark.parametrize("order", [1, 2, 3])
def test_tokens_follow_the_rows_that_are_kept(order):
    task = MarkovChains(n_states=2, order=order, n_positions=400)
    batch = task.prompts(0, "test", 0, 40)
    rows = batch.latents["rows"]
    assert rows.shape == (40, 2**order, 2)
    contexts = torch.zeros_like(batch.tokens[:, order - 1 :])
    for i in range(order):
        contexts = contexts * 2 + batch.tokens[:, i : i + contexts.shape[1]]
    ones = batch.targets[:, order - 1 :].double()
    expected = rows[..., 1].gather(1, contexts)
    excess = (ones - expected).sum() / (expected * (1 - expected)).sum().sqrt()
    assert abs(excess.item()) < 4
    halves = [(ones - expected)[expected > 0.5].mean().item(), (ones - expected)[expected < 0.5].mean().item()]
    assert max(map(abs, halves)) < 0.03


def test_chains_begin_as_they_go_on():
    task = MarkovChains(n_states=3, n_positions=4)
    batch = task.prompts(0, "test", 0, 20_000)
    rows = batch.latents["rows"]
    kept = torch.linalg.matrix_power(rows, 200)[:, 0]
    first = torch.nn.functional.one_hot(batch.tokens[:, 0], 3).double()
    assert ((first - kept).mean(0).abs() < 0.015).all()
    assert ((first - kept) * kept).mean(0).abs().max() < 0.01, "the start depends on the rows"
    flat = MarkovChains(n_states=3, n_positions=4, start="uniform").prompts(0, "test", 0, 20_000)
    assert (torch.bincount(flat.tokens[:, 0]) / 20_000 - 1 / 3).abs().max() < 0.015


def test_counting_is_bayes_where_the_start_says_nothing():
    """P(sequence) under Dirichlet(1) rows is a product of Beta integrals: here over a grid of both rows instead."""
    task = MarkovChains(n_states=2, n_positions=4, start="uniform")
    grid = (torch.arange(400).double() + 0.5) / 400
    first, second = torch.meshgrid(grid, grid, indexing="ij")
    chance = {0: (1 - first, first), 1: (1 - second, second)}

    def probability(tokens: tuple[int, ...]) -> float:
        found = torch.full_like(first, 0.5)
        for before, after in pairwise(tokens):
            found = found * chance[before][after]
        return found.mean().item()

    batch = task.prompts(0, "test", 0, 20)
    said = task.references(batch)["order_1"].exp()
    for row, tokens in enumerate(batch.tokens.tolist()):
        for i in range(4):
            seen = tuple(tokens[: i + 1])
            wanted = probability((*seen, 1)) / probability(seen)
            assert said[row, i, 1].item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("order", [2, 3])
def test_counting_of_longer_contexts_by_hand(order):
    task = MarkovChains(n_states=2, order=order, n_positions=12)
    batch = task.prompts(0, "test", 0, 10)
    for n in range(order + 1):
        said = task.references(batch)[f"order_{n}"].exp()
        for row, tokens in enumerate(batch.tokens.tolist()):
            for i in range(12):
                if i + 1 < n:
                    assert said[row, i].tolist() == [0.5, 0.5]
                    continue
                context = tokens[i + 1 - n : i + 1]
                places = [j for j in range(n - 1, i) if tokens[j + 1 - n : j + 1] == context]
                ones = sum(tokens[j + 1] for j in places if j >= 0)
                total = len([j for j in places if j >= 0])
                assert said[row, i, 1].item() == pytest.approx((ones + 1) / (total + 2))


@pytest.mark.parametrize(
    ("k", "wanted"), [(2, (math.log(2), 0.580, 0.512, 0.482)), (3, (math.log(3), 1.005, 0.886, 0.819))]
)
def test_floors_are_the_known_ones(k, wanted):
    floors = loss_floors(MarkovChains(n_states=k), 1500)
    for name, loss in zip(("uniform", "order_0", "order_1", "row"), wanted, strict=True):
        assert floors[name].loss == pytest.approx(loss, abs=5 * floors[name].standard_error + 3e-3)


def test_rows_have_the_dirichlet_law():
    rows = MarkovChains(n_states=3, concentration=4).prompts(0, "test", 0, 4000).latents["rows"]
    torch.testing.assert_close(rows.sum(-1), torch.ones(4000, 3).double())
    assert (rows.mean((0, 1)) - 1 / 3).abs().max() < 0.005
    assert rows.var((0, 1)).mean().item() == pytest.approx(1 / 3 * 2 / 3 / 13, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"n_states": 1}, "n_states must be a whole number of at least 2"),
        ({"order": 4}, "order must be 1, 2 or 3"),
        ({"n_states": 20, "order": 2}, r"n_states \*\* order is at most 256"),
        ({"concentration": 0}, "concentration must be 1 to 100"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(InputError, match=told):
        MarkovChains(**settings)
