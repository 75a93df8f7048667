"""Bigram-Backcopy: the law that it says it draws from, and what its references lose."""

import json
import math
from pathlib import Path

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import BigramBackcopy
from workbench.tasks.chains import law_of, stationary
from workbench.tasks.character_counts import broken, counts_of, from_json, load_counts, main, to_json
from workbench.tasks.floors import loss_floors, token_losses

CPU = torch.device("cpu")


def test_after_a_trigger_comes_what_stood_before_it_and_never_a_trigger():
    task = BigramBackcopy()
    batch = task.prompts(0, "test", 0, 400)
    is_trigger = batch.latents["is_trigger"]
    law = load_counts("asv_1901")
    assert [law.characters[i] for i in task.triggers()] == [" ", "e", "t"]
    assert torch.equal(is_trigger, torch.isin(batch.tokens, torch.tensor(task.triggers())))
    assert not (is_trigger[:, 1:] & is_trigger[:, :-1]).any()
    assert not is_trigger[:, :2].any(), "a start token, then no trigger"
    copied = batch.targets[:, 1:][is_trigger[:, 1:]]
    assert torch.equal(copied, batch.tokens[:, :-1][is_trigger[:, 1:]])
    assert (batch.tokens[:, 0] == 70).all()
    assert (batch.targets < 70).all()


def test_elsewhere_the_bigram_law_goes_on():
    batch = BigramBackcopy().prompts(0, "test", 0, 2000)
    h = load_counts("asv_1901").characters.index("h")
    following = batch.targets[batch.tokens == h]
    found = torch.bincount(following, minlength=70).double() / len(following)
    wanted = law_of("asv_1901", CPU).bigram[h]
    assert len(following) > 3000
    assert (found - wanted).abs().max() < 5 * (0.25 / len(following)) ** 0.5
    assert (found[wanted == 0] == 0).all()


def test_the_oracle_knows_the_law_and_the_others_what_they_say():
    task = BigramBackcopy(n_positions=64)
    batch = task.prompts(0, "test", 0, 50)
    said = task.references(batch)
    for name, log_probabilities in said.items():
        torch.testing.assert_close(log_probabilities.exp().sum(-1), torch.ones(50, 64, dtype=torch.float64), msg=name)
    is_trigger = batch.latents["is_trigger"]
    oracle, bigram = (token_losses(said[name], batch) for name in ("oracle", "bigram"))
    assert (oracle[is_trigger] == 0).all()
    plain = ~is_trigger
    plain[:, 0] = False
    assert torch.equal(oracle[plain], bigram[plain])
    assert not torch.isfinite(bigram[is_trigger]).all(), "a copy may be impossible by the bigram law"
    assert token_losses(said["uniform"], batch).unique().item() == pytest.approx(math.log(71))


def test_the_floor_of_a_plain_chain_is_its_entropy_rate():
    law = law_of("synthetic", CPU)
    kept = stationary(law.bigram)
    torch.testing.assert_close(kept @ law.bigram, kept)
    rate = -(kept[:, None] * law.bigram * law.bigram.log()).sum().item()
    floor = loss_floors(BigramBackcopy(counts="synthetic", n_triggers=0, n_positions=128), 400)["oracle"]
    assert floor.loss == pytest.approx(rate, abs=5 * floor.standard_error + 2e-3)  # the first tokens are not stationary


def test_a_copy_with_a_share_is_a_mixture():
    task = BigramBackcopy(counts="synthetic", n_positions=48, trigger_share=0.5)
    batch = task.prompts(0, "test", 0, 600)
    said = task.references(batch)["oracle"].exp()
    hits = said.gather(-1, batch.targets[..., None])[..., 0]
    trigger = batch.latents["is_trigger"][:, 1:]
    copies = (batch.targets[:, 1:] == batch.tokens[:, :-1])[trigger].double()
    predicted = said[:, 1:].gather(-1, batch.tokens[:, :-1, None])[..., 0][trigger]
    assert copies.mean().item() == pytest.approx(predicted.mean().item(), abs=0.02)
    assert (hits > 0).all()


def test_a_trigger_may_recall_a_row_instead_of_a_token():
    task = BigramBackcopy(counts="synthetic", n_positions=64, after_trigger="bigram_of_previous")
    batch = task.prompts(0, "test", 0, 500)
    said = task.references(batch)["oracle"]
    law = law_of("synthetic", CPU)
    trigger = batch.latents["is_trigger"][:, 1:]
    torch.testing.assert_close(said[:, 1:, :64].exp()[trigger], law.bigram[batch.tokens[:, :-1][trigger]])
    floors = loss_floors(task, 300)
    assert floors["oracle"].loss < floors["bigram"].loss < floors["uniform"].loss


@pytest.mark.parametrize("n_starts", [0, 1, 2])
def test_so_many_start_tokens_stand_first_and_are_never_asked_for(n_starts):
    batch = BigramBackcopy(counts="synthetic", n_positions=12, n_starts=n_starts).prompts(0, "test", 0, 30)
    assert ((batch.tokens == 64).sum(1) == n_starts).all()
    assert not (batch.targets[batch.loss_mask] == 64).any()
    assert batch.loss_mask.sum(1).unique().item() == 12 - max(0, n_starts - 1)


def test_domains_part_the_positions():
    parts = BigramBackcopy(counts="synthetic", n_positions=32).domains(0, 20)
    assert list(parts) == ["non_trigger", "trigger"]
    both = torch.stack([part.loss_mask for part in parts.values()])
    assert torch.equal(both.sum(0), (torch.arange(32) > 0).expand(20, 32).long())


def test_counts_of_a_text_go_to_a_file_and_back(tmp_path: Path):
    text = "abracadabra"
    counts = counts_of(text)
    assert counts.characters == ("a", "b", "c", "d", "r")
    assert counts.unigram == (5, 2, 1, 1, 2)
    assert counts.bigram[0] == (0, 2, 1, 1, 0)
    (tmp_path / "text.txt").write_text(text)
    assert main([str(tmp_path / "text.txt"), str(tmp_path / "counts.json")]) == 0
    assert load_counts(str(tmp_path / "counts.json")) == counts
    task = BigramBackcopy(counts=str(tmp_path / "counts.json"), n_positions=16)
    assert task.prompts(0, "test", 0, 4).tokens.max() <= 5
    assert from_json(to_json(counts), "them") == counts


def test_lines_are_broken_between_words_before_counting(tmp_path: Path):
    assert broken("one two three\n\nfourteen", 7) == "one two\nthree\n\nfourteen\n"
    (tmp_path / "text.txt").write_text("a b a b")
    assert main([str(tmp_path / "text.txt"), str(tmp_path / "counts.json"), "3"]) == 0
    assert load_counts(str(tmp_path / "counts.json")) == counts_of("a b\na b\n")


def test_nothing_traps_the_chain_of_the_counts_that_ship():
    batch = BigramBackcopy().prompts(0, "test", 0, 300)
    assert batch.latents["is_trigger"].double().mean().item() == pytest.approx(0.30, abs=0.01)
    floor = loss_floors(BigramBackcopy(), 300)["oracle"]
    assert floor.loss == pytest.approx(1.43, abs=0.03)


def test_the_counts_that_ship_are_those_of_a_whole_text():
    counts = load_counts("asv_1901")
    assert sum(counts.unigram) == 4_150_341
    assert sum(map(sum, counts.bigram)) == 4_150_340
    assert len(counts.characters) == 70


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"counts": "nothing"}, "counts must be one of asv_1901, or a path to a .json file; got 'nothing'"),
        ({"n_starts": 3}, "n_starts must be 0, 1 or 2"),
        ({"n_triggers": 64}, "n_triggers must be less than the 64 tokens"),
        ({"n_triggers": -1}, "n_triggers must be a whole number of at least 0"),
        ({"n_positions": 2}, "n_positions must be a whole number of at least 4"),
        ({"trigger_share": 1.5}, "trigger_share must be between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(InputError, match=told):
        BigramBackcopy(**{"counts": "synthetic", **settings})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "other"}, "must hold character counts"),
        ({"unigram": {"a": 1}}, "must hold 2 to 4096 characters; got 1"),
        ({"bigram": {"a": {"b": 1}}}, "of 'b' does not"),
        ({"bigram": {"a": {"b": 1}, "b": {"c": 1}}}, "of 'b' does not"),
        ({"bigram": {"a": {"b": 0}, "b": {"a": 1}}}, "of 'a' does not"),
    ],
)
def test_damaged_counts_are_refused(tmp_path: Path, change, told):
    data = {**to_json(counts_of("abab")), **change}
    (tmp_path / "counts.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=told):
        load_counts(str(tmp_path / "counts.json"))


def test_a_text_of_one_character_and_a_wrong_call_are_refused(capsys):
    with pytest.raises(InputError, match="at least 2 characters"):
        counts_of("a")
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
