"""Repeated tokens: the law, and Bayes against enumeration of all that could have happened."""

import math
from itertools import permutations

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import RepeatedTokens
from workbench.tasks.floors import loss_floors, token_losses

TINY = RepeatedTokens(n_tokens=4, n_positions=6, min_block=2, max_block=4)


def test_a_block_of_distinct_tokens_comes_again_and_again():
    batch = RepeatedTokens().prompts(0, "test", 0, 200)
    assert (batch.tokens[:, 0] == 64).all()
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    for body, length in zip(batch.targets, batch.latents["block_length"]):
        n = int(length)
        assert len(set(body[:n].tolist())) == n
        assert torch.equal(body[n:], body[:-n])
    lengths = batch.latents["block_length"]
    assert (lengths.min().item(), lengths.max().item()) == (12, 28)


def sequences() -> dict[tuple[int, ...], float]:
    """Every body of the tiny law with its probability, by writing the law out."""
    found: dict[tuple[int, ...], float] = {}
    for n in (2, 3, 4):
        blocks = list(permutations(range(4), n))
        for block in blocks:
            body = tuple(block[i % n] for i in range(6))
            found[body] = found.get(body, 0.0) + 1 / 3 / len(blocks)
    return found


def test_bayes_is_the_conditional_probability_of_the_next_token():
    law = sequences()
    batch = TINY.prompts(0, "test", 0, 60)
    said = TINY.references(batch)["bayes"].exp()
    for row, body in enumerate(batch.targets.tolist()):
        for i in range(6):
            alike = {b: p for b, p in law.items() if b[:i] == tuple(body[:i])}
            wanted = [sum(p for b, p in alike.items() if b[i] == t) / sum(alike.values()) for t in range(4)]
            torch.testing.assert_close(said[row, i], torch.tensor([*wanted, 0.0], dtype=torch.float64))


def test_floors_are_entropies_that_can_be_counted():
    law = sequences()
    floors = loss_floors(TINY, 4000)
    entropy = -sum(p * math.log(p) for p in law.values()) / 6
    assert floors["bayes"].loss == pytest.approx(entropy, abs=4 * floors["bayes"].standard_error)
    assert floors["uniform"].loss == pytest.approx(math.log(4))
    assert floors["repeat"].loss < floors["bayes"].loss < floors["uniform"].loss


def test_only_repeats_are_scored_if_asked_and_cost_nothing_to_who_knows_the_length():
    task = RepeatedTokens(scored="repeats")
    batch = task.prompts(0, "test", 0, 20)
    assert torch.equal(batch.loss_mask.sum(1), 64 - batch.latents["block_length"])
    assert token_losses(task.references(batch)["repeat"], batch)[batch.loss_mask].abs().max() == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"n_tokens": 1}, "n_tokens must be a whole number of at least 2"),
        ({"min_block": 30}, "min_block must be at most max_block 28"),
        ({"n_tokens": 20}, "max_block must be at most n_tokens 20"),
        ({"n_positions": 20}, "n_positions must be more than max_block 28"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(InputError, match=told):
        RepeatedTokens(**settings)
