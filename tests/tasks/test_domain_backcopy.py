"""Two domains: their laws, and Bayes that finds out which one it reads."""

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import DomainBackcopy
from workbench.tasks.floors import loss_floors, token_losses


def test_one_domain_is_rich_in_triggers_and_the_other_has_none():
    parts = DomainBackcopy().domains(0, 200)
    rich, free = parts["trigger_rich"].latents["is_trigger"], parts["trigger_free"].latents["is_trigger"]
    assert rich.double().mean().item() > 0.4
    assert not free.any()
    assert not (rich[:, 1:] & rich[:, :-1]).any()
    copied = parts["trigger_rich"].targets[:, 1:][rich[:, 1:]]
    assert torch.equal(copied, parts["trigger_rich"].tokens[:, :-1][rich[:, 1:]])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_so_many_prompts_are_rich(share):
    batch = DomainBackcopy(counts="synthetic", rich_share=share, n_positions=8).prompts(0, "test", 0, 4000)
    assert (batch.latents["domain"] == 0).double().mean().item() == pytest.approx(share, abs=0.025)


def test_bayes_finds_the_domain_out_and_is_calibrated():
    task = DomainBackcopy(counts="synthetic", n_positions=32, trigger_boost=1.0, rich_share=0.3)
    batch = task.prompts(0, "test", 0, 1500)
    said = task.references(batch)
    losses = {name: token_losses(each, batch) for name, each in said.items()}
    assert losses["told"].mean() < losses["bayes"].mean() < losses["uniform"].mean()
    late = losses["bayes"][:, -8:].mean() - losses["told"][:, -8:].mean()
    assert 0 <= late < losses["bayes"][:, 1:9].mean() - losses["told"][:, 1:9].mean()
    trigger = torch.isin(batch.targets, torch.tensor(task.triggers()))
    foretold = said["bayes"].exp()[..., task.triggers()].sum(-1)
    for place in (1, 2, 5, 20):
        expected, seen = foretold[:, place], trigger[:, place].double()
        error = ((seen - expected).std() / len(seen) ** 0.5).item()
        assert (seen - expected).mean().item() == pytest.approx(0.0, abs=4 * error + 1e-9)
    for each in said.values():
        torch.testing.assert_close(each.exp().sum(-1), torch.ones(1500, 32).double())


def test_floors_are_ordered():
    floors = loss_floors(DomainBackcopy(counts="synthetic", n_positions=24), 200)
    assert floors["told"].loss <= floors["bayes"].loss < floors["uniform"].loss


def test_impossible_settings_are_refused():
    for settings, told in (
        ({"rich_share": 2.0}, "rich_share must be between 0 and 1"),
        ({"trigger_boost": 0.0}, "trigger_boost must be greater than 0"),
        ({"n_triggers": 64}, "n_triggers must be less than the 64 tokens"),
        ({"n_positions": 3}, "n_positions must be a whole number of at least 4"),
    ):
        with pytest.raises(InputError, match=told):
            DomainBackcopy(**{"counts": "synthetic", **settings})
