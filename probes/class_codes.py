"""Codes for classes: how many bits the probabilities of a probe need, and how many frequencies alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.config import MlpConfig
from probes.record import Probe, Samples, Weighs

Labels = Int[Tensor, "copy sample"]
Evidence = Float[Tensor, "site copy sample label"]

_STRONGEST = 8.0
_HALVINGS = 30
_LEAST_FITTED = 2
"""Classes that a probe must be shown before it is asked."""


def frequencies(labels: Labels, n_labels: int) -> Float[Tensor, "copy label"]:
    """How often each class comes, half a time added to every count (Krichevsky and Trofimov 1981)."""
    counts = torch.stack([torch.bincount(each, minlength=n_labels) for each in labels]).double() + 0.5
    return counts / counts.sum(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class ClassCode:
    """Probabilities in proportion to frequency times exp(strength times evidence), with a little of the frequencies.

    Without strength that is the code of frequencies alone, so that a probe that knows nothing costs nothing.

    Attributes:
        prior: Frequencies of the classes.
        strength: How far evidence is believed.
        doubt: Share of the frequencies, so that no error costs without bound.
    """

    prior: Float[Tensor, "copy label"]
    strength: Float[Tensor, "site copy"]
    doubt: float

    @classmethod
    def of(cls, evidence: Evidence, labels: Labels, prior: Float[Tensor, "copy label"]) -> "ClassCode":
        """The code whose strength needs the fewest bits for some samples; their bits are convex in it."""
        low = torch.zeros(evidence.shape[:2], dtype=torch.float64)
        high = low + _STRONGEST
        fitted = (~evidence.isnan()).double()
        weighed = evidence.nan_to_num(0.0)
        wanted, counted = _at(weighed, labels), _at(fitted, labels)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            shares = _log_shares(evidence, prior, middle).exp() * fitted
            mean = (shares * weighed).sum(-1) / shares.sum(-1).clamp(min=1e-300)
            falls = ((wanted - mean) * counted).sum(-1) > 0  # so do bits, as far as evidence is believed more
            low, high = torch.where(falls, middle, low), torch.where(falls, high, middle)
        strength = torch.where(low > 0, (low + high) / 2, 0.0)
        return cls(prior, strength, 1 / (evidence.shape[2] + 2))

    def bits(self, evidence: Evidence, labels: Labels) -> Float[Tensor, "site copy sample"]:
        """Bits for the class of each sample."""
        shares = _at(_log_shares(evidence, self.prior, self.strength), labels).exp()
        plain = self.prior.gather(1, labels)
        mixed = (1 - self.doubt) * shares + self.doubt * plain
        return -torch.where(self.strength[..., None] > 0, mixed, plain).log2()

    def plain_bits(self, labels: Labels) -> Float[Tensor, "copy sample"]:
        """The same by frequencies alone."""
        return -self.prior.gather(1, labels).log2()


def _log_shares(evidence: Evidence, prior: Float[Tensor, "copy label"], strength: Float[Tensor, "site copy"]) -> Tensor:
    """Log-probabilities; a class without evidence, which is NaN, keeps its frequency."""
    plain = prior.log()[None, :, None]
    unknown = evidence.isnan()
    weighed = torch.where(unknown, -torch.inf, plain + strength[..., None, None] * evidence)
    room = torch.where(unknown, 0.0, prior[None, :, None]).sum(-1, keepdim=True).log()
    return torch.where(unknown, plain, torch.log_softmax(weighed, -1) + room)


def _at(values: Evidence, labels: Labels) -> Float[Tensor, "site copy sample"]:
    return values.gather(-1, labels[None, ..., None].expand(len(values), -1, -1, 1))[..., 0]


def as_labels(targets: Float[Tensor, "copy sample column"], classes: Int[Tensor, " label"]) -> Labels:
    """Where each class number stands among all classes."""
    return torch.searchsorted(classes, targets[..., 0].long())


def bits_saved_on(
    probes: Weighs, classes: Int[Tensor, " label"], fit: Samples, validation: Samples, test: Samples
) -> Float[Tensor, "site copy sample"]:
    """V-information of every held-out sample: bits saved over the code of frequencies alone.

    Args:
        probes: Fitted probes.
        classes: All classes that there are.
        fit: What they were fitted to, for frequencies.
        validation: What the strength is chosen on, and frequencies too.
        test: What is coded.

    Source:
        Xu et al. 2020, arXiv:2002.10689, for the family of codes that the strengths make of a probe.
    """
    seen = torch.cat([as_labels(each.targets, classes) for each in (fit, validation)], 1)
    prior = frequencies(seen, len(classes))
    code = _code(probes, classes, validation, prior)
    labels = as_labels(test.targets, classes)
    return code.plain_bits(labels) - code.bits(probes.evidence(test.activations, classes), labels)


def _code(probes: Weighs, classes: Tensor, held: Samples, prior: Tensor) -> ClassCode:
    return ClassCode.of(probes.evidence(held.activations, classes), as_labels(held.targets, classes), prior)


@dataclass(frozen=True, eq=False)
class OnlineCode:
    """Bits per sample for the classes of training samples.

    Attributes:
        probe: By probes fitted to the samples before.
        plain: By frequencies of the samples before.
        uniform: By nothing.
    """

    probe: Float[Tensor, "site copy"]
    plain: Float[Tensor, " copy"]
    uniform: float

    @property
    def saved(self) -> Float[Tensor, "site copy"]:
        """Bits that probes save over frequencies."""
        return self.plain - self.probe


def online_code(
    method: Probe, samples: Samples, ends: Sequence[int], classes: Int[Tensor, " label"], settings: MlpConfig, seed: int
) -> OnlineCode:
    """The online code of training samples: each block is coded by probes fitted to those before it.

    Three quarters of a prefix are fitted; the rest chooses what is chosen, and how far probes are believed. The first
    block is told by the uniform code, as all are that a probe cannot be fitted for, then by frequencies.

    Args:
        method: How, for classes.
        samples: Training samples.
        ends: Where blocks end.
        classes: All classes that there are, known to both sides.
        settings: Passed to the probes.
        seed: Likewise.

    Source:
        Voita and Titov 2020, arXiv:2003.12298, section 2.2.2.
    """
    labels = as_labels(samples.targets, classes)
    uniform = math.log2(len(classes))
    n_sites, n_copies = len(samples.activations), len(labels)
    probe = torch.full((n_sites, n_copies), ends[0] * uniform, dtype=torch.float64)
    plain = torch.full((n_copies,), ends[0] * uniform, dtype=torch.float64)
    for start, stop in pairwise(ends):
        prior = frequencies(labels[:, :start], len(classes))
        block = Samples(samples.activations[:, start:stop], samples.targets[:, start:stop])
        told = -prior.gather(1, labels[:, start:stop]).log2().sum(1)
        plain = plain + told
        probe = probe + _next_block(method, samples, start, block, classes, prior, told, settings, seed)
    return OnlineCode(probe / ends[-1], plain / ends[-1], uniform)


def _next_block(
    method: Probe,
    samples: Samples,
    start: int,
    block: Samples,
    classes: Tensor,
    prior: Tensor,
    told: Tensor,
    settings: MlpConfig,
    seed: int,
) -> Float[Tensor, "site copy"]:
    """Bits for one block by probes fitted to the samples before it; as many as frequencies need if none can be."""
    own = 3 * start // 4
    fit, held = (
        Samples(samples.activations[:, rows], samples.targets[:, rows]) for rows in (slice(own), slice(own, start))
    )
    if own == start or min(len(each.unique()) for each in fit.targets) < _LEAST_FITTED:
        return told.expand(len(samples.activations), -1)
    probes = method.fit(fit, held, settings, seed)
    assert isinstance(probes, Weighs), "probes for classes weigh them"
    code = _code(probes, classes, held, prior)
    return code.bits(probes.evidence(block.activations, classes), as_labels(block.targets, classes)).sum(-1)
