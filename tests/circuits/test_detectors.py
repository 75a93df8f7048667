"""Detectors: 1 on their own pattern, chance on a uniform one, and nothing is written to."""

import hashlib

import pytest
import torch

from circuits.detectors import HEAD_DETECTORS
from circuits.detectors.induction import nearest
from circuits.detectors.induction import targets as after_copies
from circuits.record import Mean, attended, chance
from circuits.stimuli import repeated

TOKENS = repeated(range(40), first=40, n_positions=41, n_block=10, n_prompts=3, seed=0)
every_detector = pytest.mark.parametrize("detector", HEAD_DETECTORS.values(), ids=list(HEAD_DETECTORS))


def uniform(n: int) -> torch.Tensor:
    return (torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]).double()


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


@every_detector
def test_its_own_pattern_scores_1_and_a_uniform_one_chance(detector):
    targets = detector.targets(TOKENS)
    own = targets / targets.sum(-1, keepdim=True).clamp(min=1)
    flat = uniform(TOKENS.shape[1]).expand(3, 1, -1, -1)
    both = torch.cat([own[:, None].double(), flat], 1)
    found = attended(both, targets)
    torch.testing.assert_close(found[:, 0], torch.ones(3).double())
    torch.testing.assert_close(found[:, 1], chance(targets).double(), rtol=1e-6, atol=0)
    assert (chance(targets) < 0.2).all()


@every_detector
def test_a_head_that_rests_on_the_first_token_scores_nothing(detector):
    pattern = torch.zeros(3, 1, TOKENS.shape[1], TOKENS.shape[1])
    pattern[..., 0] = 1.0
    assert (attended(pattern, detector.targets(TOKENS)) == 0).all()


@every_detector
def test_neither_pattern_nor_tokens_are_written_to(detector):
    pattern = torch.rand(3, 2, TOKENS.shape[1], TOKENS.shape[1], generator=torch.Generator().manual_seed(0))
    before = digest(pattern), digest(TOKENS)
    attended(pattern, detector.targets(TOKENS))
    assert (digest(pattern), digest(TOKENS)) == before


@every_detector
def test_targets_come_before_their_query(detector):
    assert not detector.targets(TOKENS).triu().any()


def test_induction_looks_behind_every_earlier_copy_at_its_true_distance():
    tokens = torch.tensor([[9, 1, 2, 1, 1, 3, 2]])
    found = after_copies(tokens)[0].nonzero().tolist()
    # Token 1 at 3: copy at 1. At 4: copies at 1 and 3, but behind the latter stands the query. Token 2 at 6: copy at 2.
    assert found == [[3, 2], [4, 2], [6, 3]]
    several = torch.tensor([[1, 2, 1, 3, 1]])
    assert after_copies(several)[0].nonzero().tolist() == [[2, 1], [4, 1], [4, 3]]
    assert nearest(several)[0].nonzero().tolist() == [[2, 1], [4, 3]]


def test_prompts_without_targets_are_left_out():
    distinct = torch.arange(6)[None]
    score = attended(uniform(6).expand(1, 1, -1, -1), HEAD_DETECTORS["duplicate"].targets(distinct))
    assert score.isnan().all()
    both = torch.tensor([0.5, torch.nan, 0.7])
    assert Mean.of(both).mean == pytest.approx(0.6)
    assert Mean.of(both).standard_error == pytest.approx(0.1)
    assert Mean.of(both[1:2]).mean != Mean.of(both[1:2]).mean


def test_repeated_prompts_are_distinct_tokens_over_and_over():
    assert TOKENS.shape == (3, 41)
    assert (TOKENS[:, 0] == 40).all()
    body = TOKENS[:, 1:]
    assert torch.equal(body[:, 10:], body[:, :-10])
    assert all(len(set(row[:10].tolist())) == 10 for row in body)
    assert repeated(range(3), first=None, n_positions=41, n_block=10, n_prompts=2, seed=0).shape == (2, 12)
    assert repeated(range(40), first=40, n_positions=4, n_block=10, n_prompts=2, seed=0).shape == (2, 0)
