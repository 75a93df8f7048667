"""Every probe finds what was planted, nothing in targets of other prompts, and leaves its input alone."""

import pytest
import torch

from probes.config import MlpConfig
from probes.methods import PROBES
from probes.record import Samples
from probes.targets import TARGETS, find_target

N, WIDTH, TOKENS = 1200, 4, 3
SETTINGS = MlpConfig(n_hidden=32, n_steps=300, n_batch=128, lr=1e-2)


def planted(probe):
    """Activations of two sites; the target is planted in the first, its copy belongs to other samples."""
    g = torch.Generator().manual_seed(0)
    shape = (2, N, TOKENS, WIDTH) if probe.pools else (2, N, WIDTH)
    activations = torch.randn(*shape, generator=g)
    read = activations[0, :, 1] if probe.pools else activations[0]
    targets = (read @ torch.randn(WIDTH, 2, generator=g)).double()
    if probe.says == "classes":
        targets = (targets[:, :1] > 0).double() + (targets[:, :1] > 1).double()
    both = torch.stack([targets, targets[torch.randperm(N, generator=g)]])
    return activations, both


def score(probe, said, truth):
    if probe.says == "classes":
        most = torch.stack([(truth == c).double().mean() for c in (0.0, 1.0, 2.0)]).max()
        return ((said == truth).double().mean() - most) / (1 - most)
    return 1 - (said - truth).square().sum() / (truth - truth.mean(0)).square().sum()


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_finds_what_is_there_and_nothing_else(name):
    probe = PROBES[name]
    activations, targets = planted(probe)
    before = activations.clone(), targets.clone()
    parts = [Samples(activations[:, at], targets[:, at]) for at in (slice(700), slice(700, 900))]
    fitted = probe.fit(*parts, SETTINGS, 0)
    said, truth = fitted(activations[:, 900:]), targets[:, 900:]
    assert said.shape == (2, 2, 300, truth.shape[-1])
    assert said.dtype == torch.float64
    found = [[float(score(probe, said[site, copy], truth[copy])) for copy in (0, 1)] for site in (0, 1)]
    enough = 0.9 if probe.says == "numbers" else 0.5  # means of unlike classes lie askew to their borders
    assert found[0][0] > enough
    assert max(found[0][1], *found[1]) < 0.1
    assert torch.equal(activations, before[0])
    assert torch.equal(targets, before[1])
    again = probe.fit(*parts, SETTINGS, 0)(activations[:, 900:])
    assert torch.equal(again, said)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_says_what_it_is(name):
    probe = PROBES[name]
    assert probe.name == name
    assert probe.label
    assert probe.source
    assert probe.says in ("numbers", "classes")


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_what_it_is(name):
    target = TARGETS[name]
    assert target.name == name
    assert target.label
    assert target.source
    assert target.from_prompt == (target.best is None)
    if target.argument is None or target.argument.default is not None:
        assert find_target(name) is target
