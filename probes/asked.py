"""Prompts cut where a query asks: their streams at every layer, and runs that go on from a changed one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from probes.examples import Examples, Seen
from probes.places import Place
from probes.record import ProbeTarget
from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models.transformer import Transformer
from workbench.tasks import Task

_BATCH = 256


@dataclass(frozen=True)
class Asked:
    """Prompts of ``n`` examples and a query: which tokens they have.

    Attributes:
        n: Examples seen by the query.
        query: Position of the token that asks, 0-based.
        first: Position of the first token that has seen an example.
        causal: Whether tokens see only those before them.
    """

    n: int
    query: int
    first: int
    causal: bool

    @classmethod
    def of(cls, model: Transformer, n: int) -> "Asked":
        """Of a causal model tokens x_i and y_i alternate; otherwise the query is the last token, and all see all."""
        causal = model.plan.causal
        return cls(n, 2 * n, 1, causal) if causal else cls(n, model.plan.n_positions(n + 1) - 1, 0, causal)

    @property
    def positions(self) -> range:
        """Tokens that have seen an example, up to the query."""
        return range(self.first, self.query + 1)

    def n_seen(self, position: int) -> int:
        """Examples that a token has seen."""
        return Place(position).n_seen if self.causal else self.n

    def sets(self, names: Sequence[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The tokens to change by name, ``each`` as so many sets of one."""
        known = {"answer": (self.query - 1,), "query": (self.query,)}
        known |= {"examples": tuple(self.positions)[:-1], "all": tuple(self.positions)}
        for name in names:
            if name == "each":
                yield from (("each", (position,)) for position in self.positions)
            else:
                yield name, known[name]


def targets_at(
    batch: RegressionBatch, task: Task, target: ProbeTarget, asked: Asked
) -> Float[Tensor, "prompt pos column"]:
    """What each token in turn has to hold: the target of the examples that it has seen.

    Raises:
        InputError: If it names classes, is not finite, is the same for all prompts, or labels are vectors.
    """
    examples, found = Examples(batch, task), {}
    for n, position in {asked.n_seen(position): position for position in asked.positions}.items():
        value = target.compute(Seen(examples, n, position))
        value = value[:, None] if value.ndim == 1 and value.is_floating_point() else value
        if value.ndim != 2:
            raise InputError(f"target {target.name!r} must be made of numbers to be steered or erased.")
        value = value.double()
        if not torch.isfinite(value).all():
            raise InputError(f"target {target.name!r} must be finite; it is not after {n} examples. Take another.")
        if (value - value.mean(0)).abs().max() <= 1e-12 * value.abs().max():
            raise InputError(f"target {target.name!r} must differ between prompts; it does not after {n} examples.")
        found[n] = value
    return torch.stack([found[asked.n_seen(position)] for position in asked.positions], 1)


@dataclass(frozen=True, eq=False)
class Piece:
    """A few prompts, run as they are.

    Attributes:
        rows: Which.
        streams: The stream after every block, the embedding first, at the model's own precision.
    """

    rows: slice
    streams: Float[Tensor, "layer batch pos d_model"]

    def at(
        self, positions: Sequence[int], layer: int | slice = slice(None)
    ) -> Float[Tensor, "*layer batch pos d_model"]:
        """The stream at some tokens, of all layers or one, in float64 on the CPU."""
        return self.streams[layer][..., list(positions), :].cpu().double()


@torch.no_grad()
def pieces(model: Transformer, batch: RegressionBatch, ends: Sequence[int] = ()) -> Iterator[Piece]:
    """Streams of all prompts, a few at a time; no piece reaches across one of ``ends``.

    Raises:
        InputError: If a stream is not finite.
    """
    weight = model.unembed.weight
    hooks = ["blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(model.config.n_layers))]
    cuts = sorted({*range(0, batch.n_batch, _BATCH), *(end for end in ends if end < batch.n_batch), batch.n_batch})
    for first, last in pairwise(cuts):
        prompt = model.encode(batch.prompts(first, last).to(weight.device, weight.dtype))
        _, cache = model.run_with_cache(prompt, names_filter=hooks)
        streams = torch.stack([cache[hook] for hook in hooks])
        if not torch.isfinite(streams).all():
            raise InputError("the stream must be finite; it holds NaN or infinity. Take another checkpoint.")
        yield Piece(slice(first, last), streams)


@torch.no_grad()
def answer(
    model: Transformer,
    piece: Piece,
    layer: int,
    positions: Sequence[int] = (),
    changed: Float[Tensor, "batch pos d_model"] | None = None,
) -> Float[Tensor, " batch"]:
    """The prediction for the query, of runs that go on from the stream after ``layer`` blocks.

    Args:
        model: The model.
        piece: The prompts.
        layer: 0 is the embedding.
        positions: Tokens whose stream is changed.
        changed: What it becomes.
    """
    stream = piece.streams[layer]
    if changed is not None:
        stream = stream.clone()
        stream[:, list(positions)] = changed.to(stream)
    needs_embedded = model.config.input_injection and layer > 0
    said = model(stream, start_at_layer=layer, embedded=piece.streams[0] if needs_embedded else None)
    return model.read_out(said)[:, -1].cpu().double()
