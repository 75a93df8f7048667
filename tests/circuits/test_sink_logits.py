"""Sink logits by hand, by a loop, and of a head that is known to rest."""

import math

import pytest
import torch

from circuits.sink_logits import sink_logits


def test_the_score_on_the_first_token_stands_over_the_mean_of_those_between():
    scores = torch.full((1, 1, 4, 4), -torch.inf)
    scores[0, 0, 2, :3] = torch.tensor([5.0, 1.0, 99.0])
    scores[0, 0, 3, :4] = torch.tensor([4.0, 1.0, 3.0, 99.0])
    found = sink_logits(scores, torch.tensor([[7, 0, 1, 2]]), torch.ones(1, 4, dtype=torch.bool), 8)
    assert found.by_token[0, 1].item() == 4.0, "the query's own score is left out"
    assert found.by_token[0, 2].item() == 2.0
    assert found.n_queries.tolist() == [0, 1, 1, 0, 0, 0, 0, 0], "queries 0 and 1 have nothing between"
    assert found.by_token[0, 7].isnan()
    mean, low, high = found.summary(0)
    assert (mean, low, high) == pytest.approx((3.0, 2.2, 3.8))


def test_it_is_what_a_loop_finds_for_every_token():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 2, 9, 9, generator=generator).double()
    scores = scores.masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf)
    tokens = torch.randint(4, (5, 9), generator=generator)
    queries = torch.rand(5, 9, generator=generator) < 0.7
    before = scores.clone()
    found = sink_logits(scores, tokens, queries, 4)
    for token in range(4):
        for head in range(2):
            each = [
                (scores[b, head, q, 0] - scores[b, head, q, 1:q].mean()).item()
                for b in range(5)
                for q in range(2, 9)
                if queries[b, q] and tokens[b, q] == token
            ]
            assert found.by_token[head, token].item() == pytest.approx(sum(each) / len(each))
            assert found.n_queries[token].item() == len(each)
    assert torch.equal(scores, before)


def test_without_queries_there_is_nothing_to_tell():
    nothing = sink_logits(torch.zeros(1, 1, 3, 3), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3).bool(), 2)
    assert all(math.isnan(value) for value in nothing.summary(0))
