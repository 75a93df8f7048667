"""In-context bigrams: outputs of the prompt's own behind triggers, the bigram law elsewhere."""

import math

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import InContextBigram
from workbench.tasks.chains import law_of
from workbench.tasks.floors import loss_floors, token_losses
from workbench.tasks.in_context_bigram import seen_before

LAW = law_of("synthetic", torch.device("cpu"))


def task(**settings) -> InContextBigram:
    return InContextBigram(**{"counts": "synthetic", "n_positions": 64, **settings})


@pytest.mark.parametrize("triggers", ["frequent", "drawn"])
@pytest.mark.parametrize("outputs", ["uniform", "bigram"])
def test_a_trigger_is_followed_by_its_output_and_others_by_the_law(triggers, outputs):
    own = task(triggers=triggers, outputs=outputs)
    batch = own.prompts(0, "test", 0, 1500)
    is_trigger = batch.latents["is_trigger"].gather(1, batch.tokens)
    assert (batch.latents["is_trigger"].sum(1) == 5).all()
    output = batch.latents["output"].gather(1, batch.tokens)
    assert torch.equal(output[is_trigger], batch.targets[is_trigger])
    counts = torch.zeros(64, 64).double()
    counts.index_put_((batch.tokens[~is_trigger], batch.targets[~is_trigger]), torch.ones(1).double(), accumulate=True)
    busy = counts.sum(1) > 500
    found = counts[busy] / counts[busy].sum(1, keepdim=True)
    assert (found - LAW.bigram[busy]).abs().max() < 0.08
    same = (batch.latents["is_trigger"] == batch.latents["is_trigger"][0]).all()
    assert bool(same) == (triggers == "frequent")


def test_outputs_have_the_stated_law():
    flat = task().prompts(0, "test", 0, 3000).latents["output"][:, 7]
    rows = task(outputs="bigram").prompts(0, "test", 0, 3000).latents["output"][:, 7]
    assert (torch.bincount(flat, minlength=64) / 3000 - 1 / 64).abs().max() < 0.012
    assert (torch.bincount(rows, minlength=64) / 3000 - LAW.bigram[7]).abs().max() < 0.03


def test_drawn_triggers_follow_the_unigram_law():
    drawn = task(triggers="drawn", n_triggers=1).prompts(0, "test", 0, 8000).latents["is_trigger"].double().mean(0)
    assert (drawn - LAW.unigram).abs().max() < 0.01


def test_the_best_reference_is_certain_at_repeats_and_knows_the_law_elsewhere():
    own = task()
    batch = own.prompts(0, "test", 0, 60)
    said = own.references(batch)
    losses = token_losses(said["in_context"], batch)
    is_trigger = batch.latents["is_trigger"].gather(1, batch.tokens)
    again = is_trigger & seen_before(batch.tokens)
    assert losses[again].abs().max() == 0
    assert losses[is_trigger & ~again].unique().item() == pytest.approx(math.log(64))
    assert torch.equal(losses[~is_trigger], token_losses(said["bigram"], batch)[~is_trigger])
    for log_probabilities in said.values():
        torch.testing.assert_close(log_probabilities.exp().sum(-1), torch.ones(60, 64).double())
    assert torch.equal(task(scored="repeats").prompts(0, "test", 0, 60).loss_mask, again)
    floors = loss_floors(own, 100)
    assert floors["in_context"].loss < floors["bigram"].loss


def test_domains_are_repeats_of_triggers_and_all_that_is_no_trigger():
    parts = task().domains(0, 10)
    assert not (parts["other"].loss_mask & parts["trigger"].loss_mask).any()
    assert parts["trigger"].loss_mask.any(1).sum() > 5


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="n_triggers must be less than the 64 tokens"):
        task(n_triggers=64)
    with pytest.raises(InputError, match="n_triggers must be a whole number of at least 1"):
        task(n_triggers=0)
    with pytest.raises(InputError, match="n_positions must be a whole number of at least 2"):
        task(n_positions=1)
