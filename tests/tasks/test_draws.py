"""Numbered draws: the laws they claim, the same anywhere, and nothing shared between prompts, streams and calls."""

import pytest
import torch

from workbench.tasks.draws import GeneratorDraws, NumberedDraws, numbered, stream_key

N = 20_000


def of_kind(kind: str, n: int = N) -> GeneratorDraws | NumberedDraws:
    return numbered(0, "test", 0, n) if kind == "numbered" else GeneratorDraws(n, torch.Generator().manual_seed(0))


both = pytest.mark.parametrize("kind", ["numbered", "generator"])


@both
def test_normal_numbers_have_the_moments_of_the_normal_law_and_no_correlations(kind: str):
    drawn = of_kind(kind).normal(9).double()
    assert drawn.shape == (N, 9)
    assert drawn.mean().abs() < 5 / (9 * N) ** 0.5
    assert (drawn.square().mean() - 1).abs() < 5 * (2 / (9 * N)) ** 0.5
    assert ((drawn**4).mean() - 3).abs() < 5 * (96 / (9 * N)) ** 0.5
    off_diagonal = torch.corrcoef(drawn.T) - torch.eye(9)
    assert off_diagonal.abs().max() < 5 / N**0.5, "within a prompt"
    lagged = (drawn[1:] * drawn[:-1]).mean(0)
    assert lagged.abs().max() < 5 / N**0.5, "between neighbouring prompts"
    tail = (drawn.abs() > 3).double().mean()
    assert (tail - 0.0026998).abs() < 5 * (0.0027 / (9 * N)) ** 0.5


@both
def test_uniform_numbers_and_integers_fill_their_range_evenly(kind: str):
    draws = of_kind(kind)
    uniform, whole = draws.uniform(4), draws.integers(7, 4)
    assert ((uniform >= 0) & (uniform < 1)).all()
    for counts in (torch.histc(uniform, 10, 0, 1), torch.bincount(whole.flatten())):
        expected = 4 * N / len(counts)
        assert len(counts) in (10, 7)
        assert ((counts - expected) / expected**0.5).abs().max() < 5
    assert whole.dtype == torch.int64


@both
def test_shapes_may_be_empty_odd_or_deep_and_calls_are_fresh(kind: str):
    draws = of_kind(kind, 5)
    assert draws.normal().shape == draws.uniform().shape == draws.integers(3).shape == (5,)
    assert draws.normal(3, 2, 5).shape == (5, 3, 2, 5)
    assert not torch.equal(draws.normal(3), draws.normal(3))
    assert (draws.n_batch, draws.device.type) == (5, "cpu")


@both
def test_orthogonal_matrices_are_orthogonal_and_prefer_no_direction(kind: str):
    drawn = of_kind(kind).orthogonal(3).double()
    torch.testing.assert_close(drawn @ drawn.mT, torch.eye(3).double().expand(N, 3, 3), rtol=0, atol=1e-5)
    assert drawn.mean(0).abs().max() < 5 / (3 * N) ** 0.5
    assert (drawn.square().mean(0) - 1 / 3).abs().max() < 0.01


def test_a_prompt_is_the_same_alone_and_among_others():
    many, few = numbered(3, "a", 0, 100).normal(7), numbered(3, "a", 40, 2).normal(7)
    assert torch.equal(many[40:42], few)


def test_streams_seeds_and_prompts_share_no_word():
    words = [
        numbered(seed, stream, first, 500)._words(50).flatten()
        for seed in (0, 1)
        for stream in ("train", "eval")
        for first in (0, 500)
    ]
    assert len(torch.cat(words).unique()) == 8 * 500 * 50


def test_keys_vectorise_over_replicas():
    keys = torch.tensor([stream_key(seed, "train") for seed in (5, 6)])
    order = torch.arange(4)
    together = torch.func.vmap(lambda key: NumberedDraws(key, order).normal(3))(keys)
    alone = torch.stack([numbered(seed, "train", 0, 4).normal(3) for seed in (5, 6)])
    assert torch.equal(together, alone)


def test_words_are_those_of_splitmix_worked_out_in_whole_numbers():
    """Every run ever trained saw these numbers: a change here is a change of all of them."""

    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    golden, key = 0x9E3779B97F4A7C15, stream_key(0, "train") % 2**64
    start = mix((key ^ 7) * golden % 2**64)
    expected = [mix((start ^ place) * golden % 2**64) for place in (1, 2, 3)]
    assert [word % 2**64 for word in numbered(0, "train", 7, 1)._words(3)[0].tolist()] == expected
    known = torch.tensor([[-2.3862969875, -0.4543695152, -0.7206252813]])
    torch.testing.assert_close(numbered(0, "train", 0, 1).normal(3), known, rtol=1e-6, atol=0)
