"""Items and labels in context, then one more item: learning in context against learning in weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.configs import is_count, is_finite
from workbench.errors import InputError, must, refuse_faults
from workbench.tasks.chains import choose, follow, steps_of
from workbench.tasks.draws import Draws, numbered
from workbench.tasks.token_task import LogProbabilities, TokenTask

_MODEL: Mapping[str, Any] = {"n_layers": 2, "n_heads": 1, "positions": "none", "mlp": "relu", "attention_scale": 1.0}
_TRAIN: Mapping[str, Any] = {"n_batch": 128, "checkpoint_every": 500}


@dataclass(frozen=True)
class ICLClassification(TokenTask):
    """N item-label pairs and a target item whose label is asked (Reddy 2023, section 2).

    A prompt is a sequence of vectors: a one-hot place, from a random offset on, beside an item or a label. Class k has
    label k mod n_labels. Class means and label vectors are N(0, I/D); items are (mean + noise) / sqrt(1 + noise^2).
    The original's read-out is an MLP of three layers; here it is linear, behind blocks that have an MLP of their own.
    """

    name: ClassVar[str] = "icl_classification"
    label: ClassVar[str] = "In-context classification"
    source: ClassVar[str] = "Reddy 2023, arXiv:2312.03002"

    n_classes: int = 256
    """Classes K that are seen again and again; a multiple of n_labels."""
    n_labels: int = 32
    """Labels L."""
    n_pairs: int = 8
    """Item-label pairs N in the context."""
    burstiness: int = 1
    """Items B of each class in a bursty context; divides n_pairs."""
    p_bursty: float = 1.0
    """Share of bursty prompts, whose context holds the target's class; in others context and target are independent."""
    p_novel: float = 0.8
    """Share of prompts with classes from another pool, which cannot be learnt in weights if it is large."""
    n_novel: int = 128
    """Classes of that pool; a multiple of n_labels."""
    novel: Literal["fresh", "pool"] = "fresh"
    """Whether novel classes have means of the prompt's own, or those of the pool, always the same: these are learnt in
    weights like all others, and accuracy on them says nothing of the context."""
    zipf: float = 0.0
    """Exponent of the classes' frequencies, k^-zipf."""
    noise: float = 0.1
    """Within-class noise, in units of the spread of class means."""
    d_content: int = 63
    """Numbers of an item."""
    n_slots: int = 65
    """Places in the one-hot code."""
    distinct_labels: bool = True
    """Whether the classes of a bursty context have different labels."""
    label_shift: int = 0
    """Added to every label of a prompt, modulo n_labels: what was learnt in weights is then wrong."""
    fixed_seed: int = 0
    """Seeds class means and label vectors."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"n_classes": 128, "n_labels": 8, "n_pairs": 4, "d_content": 15, "n_slots": 17, "n_novel": 128},
            "model": {**_MODEL, "d_model": 64},
            "train": {**_TRAIN, "n_steps": 2000, "lr": 1e-3},
        },
        "small": {"task": {}, "model": {**_MODEL, "d_model": 128}, "train": {**_TRAIN, "n_steps": 10_000, "lr": 1e-3}},
        "paper": {
            "task": {},
            "model": {**_MODEL, "d_model": 128, "d_mlp": 128, "norm": "none"},
            "train": {**_TRAIN, "n_steps": 200_000, "optimizer": "sgd", "lr": 0.01, "weight_decay": 1e-4},
        },
    }

    def __post_init__(self) -> None:
        counts = ("n_classes", "n_labels", "n_pairs", "burstiness", "n_novel", "d_content")
        shares = ("p_bursty", "p_novel")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        refuse_faults(
            [
                *(must(n, "be a whole number of at least 1", values[n], is_count(values[n])) for n in counts),
                *(
                    must(n, "be between 0 and 1", values[n], is_finite(values[n], at_least=0) and values[n] <= 1)
                    for n in shares
                ),
                *(must(n, "be at least 0", values[n], is_finite(values[n], at_least=0)) for n in ("zipf", "noise")),
                must("label_shift", "be a whole number of at least 0", self.label_shift, is_count(self.label_shift, 0)),
                must("fixed_seed", "be a whole number", self.fixed_seed, isinstance(self.fixed_seed, int)),
            ]
        )
        labels, length, distinct = self.n_labels, self.n_positions, self.n_pairs // self.burstiness
        most = labels if self.distinct_labels else min(self.n_classes, self.n_novel)
        rule = f"be a multiple of n_labels {labels}"
        refuse_faults(
            [
                must("n_classes", rule, self.n_classes, self.n_classes % labels == 0),
                must("n_novel", rule, self.n_novel, self.n_novel % labels == 0),
                must("burstiness", f"divide n_pairs {self.n_pairs}", self.burstiness, self._divides),
                must("n_pairs", f"give at most {most} classes per context", self.n_pairs, distinct <= most),
                must("n_slots", f"be at least the {length} positions", self.n_slots, is_count(self.n_slots, length)),
            ]
        )

    @property
    def _divides(self) -> bool:
        return self.n_pairs % self.burstiness == 0

    @property
    def n_positions(self) -> int:
        """Positions: two per pair, and the target."""
        return 2 * self.n_pairs + 1

    def model_shape(self) -> Mapping[str, Any]:
        """Vectors in, logits over the labels out."""
        return {
            "input": "continuous",
            "layout": "interleaved_shared",
            "d_input": self.n_slots + self.d_content,
            "output": "logits",
            "d_vocab": self.n_labels,
            "n_ctx": self.n_positions,
        }

    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:
        """Fresh prompts of vectors, scored at the target alone.

        Latents: ``classes`` ``[batch pair]`` and ``target_class``, novel ones counted on from n_classes; ``labels``
        ``[batch pair]``; ``items`` ``[batch pair_and_target d_content]``.

        Raises:
            InputError: If a curriculum over coordinates is asked for.
        """
        if d_active is not None:
            raise InputError(f"train.d_start must be left out for task {self.name!r}, whose coordinates are places.")
        is_novel = draws.uniform() < self.p_novel
        is_bursty = draws.uniform() < self.p_bursty
        known, novel = (self._classes(draws, n, is_bursty) for n in (self.n_classes, self.n_novel))
        classes = torch.where(is_novel[:, None], novel + self.n_classes, known)
        labels = (classes % self.n_labels + self.label_shift) % self.n_labels
        means = _class_means(self.fixed_seed, self.n_classes + self.n_novel, self.d_content, str(draws.device))[classes]
        spread = draws.normal(self.n_pairs + 1, self.d_content) / math.sqrt(self.d_content)
        if self.novel == "fresh":
            means = torch.where(is_novel[:, None, None], self._fresh(draws, classes), means)
        items = (means + self.noise * spread) / (1 + self.noise * self.noise) ** 0.5
        said = _label_vectors(self.fixed_seed, self.n_labels, self.d_content, str(draws.device))[labels[:, :-1]]
        pairs = torch.stack([items[:, :-1], said], 2)
        content = torch.cat([rearrange(pairs, "batch pair two d -> batch (pair two) d"), items[:, -1:]], 1)
        offset = draws.integers(self.n_slots - self.n_positions + 1)
        places = offset[:, None] + torch.arange(self.n_positions, device=draws.device)
        prompt = torch.cat([F.one_hot(places, self.n_slots).to(content.dtype), content], -1)
        targets = F.pad(labels[:, -1:], (self.n_positions - 1, 0))
        mask = (torch.arange(self.n_positions, device=draws.device) == self.n_positions - 1).expand(targets.shape)
        latents = {"classes": classes[:, :-1], "target_class": classes[:, -1], "labels": labels[:, :-1], "items": items}
        return TokenBatch(prompt, targets, mask, latents)

    def _fresh(self, draws: Draws, classes: Int[Tensor, "batch slot"]) -> Float[Tensor, "batch slot d_content"]:
        """Means of the prompt's own, equal where the class is."""
        own = draws.normal(self.n_pairs + 1, self.d_content) / math.sqrt(self.d_content)
        place = torch.arange(self.n_pairs + 1, device=draws.device)
        same = classes[:, :, None] == classes[:, None, :]
        first = torch.where(same, place, len(place)).amin(-1)
        return own.gather(1, first[..., None].expand_as(own))

    def _classes(self, draws: Draws, n_classes: int, is_bursty: Bool[Tensor, " batch"]) -> Int[Tensor, "batch slot"]:
        """Classes of the pairs, then of the target."""
        rank = torch.arange(1, n_classes + 1, device=draws.device, dtype=torch.float64)
        frequency = rank**-self.zipf
        bursty = self._bursty(draws, frequency)
        steps = steps_of(frequency).expand(draws.n_batch, -1)
        chance = draws.uniform(self.n_pairs + 1)
        apart = torch.stack([choose(steps, chance[:, i]) for i in range(self.n_pairs + 1)], 1)
        return torch.where(is_bursty[:, None], bursty, apart)

    def _bursty(self, draws: Draws, frequency: Float[Tensor, " class"]) -> Int[Tensor, "batch slot"]:
        """A few different classes, each several times, in any order, and one of them.

        The largest of log frequency plus Gumbel noise are draws without replacement in order; the best class of every
        label, in that order, is what is left when classes of labels already drawn are passed over.
        """
        n_distinct = self.n_pairs // self.burstiness
        scores = frequency.log() - (-draws.uniform(len(frequency)).double().clamp(min=1e-12).log()).log()
        if self.distinct_labels:
            groups = rearrange(scores, "batch (copy label) -> batch copy label", label=self.n_labels)
            best = groups.max(1)
            order = best.values.argsort(1, descending=True)[:, :n_distinct]
            drawn = best.indices.gather(1, order) * self.n_labels + order
        else:
            drawn = scores.argsort(1, descending=True)[:, :n_distinct]
        shuffled = draws.uniform(self.n_pairs).argsort(1)
        context = drawn.repeat(1, self.burstiness).gather(1, shuffled)
        target = drawn.gather(1, draws.integers(n_distinct, 1))
        return torch.cat([context, target], 1)

    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """What predictors say at every position; only that at the target counts.

        ``matching`` weighs the labels of the context by how well their items' class fits the target: Bayes for novel
        classes in bursty prompts, told which items are of one class. ``in_weights`` knows every class's own label;
        ``context`` takes all pairs alike; ``uniform`` all labels.
        """
        labels = F.one_hot(batch.latents["labels"], self.n_labels).double()
        context = labels.mean(1)
        matching = (self._matches(batch)[..., None] * labels).sum(1)
        own = F.one_hot(batch.latents["target_class"] % self.n_labels, self.n_labels).double()
        uniform = torch.full_like(own, 1 / self.n_labels)
        said = {"matching": matching, "in_weights": own, "context": context, "uniform": uniform}
        return {name: follow(each[:, None].expand(-1, self.n_positions, -1)) for name, each in said.items()}

    def _matches(self, batch: TokenBatch) -> Float[Tensor, "batch pair"]:
        """Posterior share of every pair: its class is the target's, whose items have correlation 1 / (1 + noise^2).

        With n items of a class seen, the target of that class is Gaussian with mean r / (1 + (n - 1) r) times their sum
        and variance (1 - n r^2 / (1 + (n - 1) r)) / D per coordinate.
        """
        items, classes = batch.latents["items"].double(), batch.latents["classes"]
        r = 1 / (1 + self.noise * self.noise)
        alike = (classes[:, :, None] == classes[:, None, :]).double()
        n = alike.sum(-1)
        mean = (r / (1 + (n - 1) * r))[..., None] * (alike @ items[:, :-1])
        variance = ((1 - n * r * r / (1 + (n - 1) * r)) / self.d_content).clamp(min=1e-12)
        distance = (items[:, -1:] - mean).square().sum(-1)
        fit = -distance / (2 * variance) - self.d_content / 2 * variance.log()
        return (fit - n.log()).softmax(-1)

    def domains(self, seed: int, n_prompts: int) -> Mapping[str, TokenBatch]:
        """The three evaluations.

        ``in_context`` (IC): novel classes, bursty. ``shifted`` (IC2): known classes whose labels are all one further.
        ``in_weights`` (IW): known classes, the target independent of the context.
        """
        kinds = {
            "in_context": replace(self, p_bursty=1.0, p_novel=1.0),
            "shifted": replace(self, p_bursty=1.0, p_novel=0.0, label_shift=self.label_shift + 1),
            "in_weights": replace(self, p_bursty=0.0, p_novel=0.0),
        }
        return {name: task._tokens(seed, f"evaluation {name}", n_prompts) for name, task in kinds.items()}


# A compiler cannot follow how streams are named: it takes what these return for constants, one for each name.


@torch.compiler.assume_constant_result
def _class_means(seed: int, n: int, d: int, device: str) -> Tensor:
    return _normal_rows(seed, "classes", n, d, device)


@torch.compiler.assume_constant_result
def _label_vectors(seed: int, n: int, d: int, device: str) -> Tensor:
    return _normal_rows(seed, "labels", n, d, device)


@cache
def _normal_rows(seed: int, name: str, n: int, d: int, device: str) -> Tensor:
    """Rows of N(0, I/d)."""
    return numbered(seed, name, 0, n, torch.device(device)).normal(d) / math.sqrt(d)


def accuracy(said: Float[Tensor, "batch pos label"], batch: TokenBatch) -> float:
    """Share of prompts whose target label is the most likely one."""
    return (said[:, -1].argmax(-1) == batch.targets[:, -1]).double().mean().item()
