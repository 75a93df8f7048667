"""Ask a model for the labels of other inputs: what it makes of any query after any prefix of a prompt."""

from collections.abc import Callable, Iterator

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.models.places import Arrangement
from workbench.models.transformer import Transformer

Queries = Float[Tensor, "batch context n_query d_input"]
AskedStreams = Float[Tensor, "layer batch context n_query d_model"]
Read = Callable[[Float[Tensor, "layer *place d_model"]], Float[Tensor, "row *place"]]

N_ASKED = 8
"""Queries per prefix in one pass. More make longer sequences, in which most pairs are hidden from each other and
computed for nothing; with fewer the prompt itself is run more often."""
_TOKENS = 2048
"""Tokens of one pass, about: what stays in a processor's cache."""


@torch.no_grad()
def asked_streams(model: Transformer, batch: RegressionBatch, queries: Queries) -> AskedStreams:
    """The residual stream where the labels of other inputs are asked for, at every prefix.

    Query (i, k) takes the place of x_i: it sees the examples 0 to i - 1 and itself, under the position of x_i, and no
    other query, so that what stands there is what the prompt cut at i, with the query as x_i, would give. All queries
    of a pass stand in one sequence behind the prompt's own tokens; a model without the causal mask runs each cut
    prompt instead.

    Args:
        model: A transformer over (x, y) examples.
        batch: Prompts, of the model's type and on its device.
        queries: Inputs to ask about.

    Returns:
        Layer 0 is the embedding, layer l the stream after block l.

    Raises:
        InputError: If the queries do not have the shape of the prompts.
    """
    return ask(model, batch, queries, lambda streams: streams)


@torch.no_grad()
def ask(model: Transformer, batch: RegressionBatch, queries: Queries, read: Read) -> Float[Tensor, "row ..."]:
    """What ``read`` makes of the streams of `asked_streams`, pass by pass, so that they are never kept.

    Args:
        model: A transformer over (x, y) examples.
        batch: Prompts, of the model's type and on its device.
        queries: Inputs to ask about.
        read: From streams to what is kept of them, without mixing places.

    Returns:
        ``[row batch context n_query]``, followed by what further axes ``read`` leaves.

    Raises:
        InputError: If the queries do not have the shape of the prompts.
    """
    by_prompts = [
        torch.cat([read(streams_asked(model, part, asked)) for asked in queried.split(N_ASKED, 2)], 3)
        for part, queried in passes(batch, queries)
    ]
    return torch.cat(by_prompts, 1)


def passes(batch: RegressionBatch, queries: Queries) -> Iterator[tuple[RegressionBatch, Queries]]:
    """Prompts and their queries, a few prompts at a time.

    Raises:
        InputError: If the queries do not have the shape of the prompts.
    """
    if queries.ndim != 4 or (*queries.shape[:2], queries.shape[3]) != batch.xs.shape:
        shapes = f"{tuple(queries.shape)} for xs of {tuple(batch.xs.shape)}"
        raise InputError(f"queries must be [batch context n_query d_input]; got {shapes}.")
    step = max(1, _TOKENS // (batch.n_context * (2 + N_ASKED)))
    for first in range(0, batch.n_batch, step):
        yield batch.prompts(first, first + step), queries[first : first + step]


def streams_asked(model: Transformer, batch: RegressionBatch, queries: Queries) -> AskedStreams:
    """`asked_streams` in one pass, differentiable: for gradients with respect to queries, labels or weights."""
    if model.plan.causal:
        return _beside(model, batch, queries)
    return torch.cat([_in_place(model, batch.prefix(n + 1), queries[:, n]) for n in range(batch.n_context)], 2)


def streams_of(
    model: Transformer, prompt: Float[Tensor, "batch pos d_token"], arrangement: Arrangement | None = None
) -> Float[Tensor, "layer batch pos d_model"]:
    """The residual stream at every position, layer 0 the embedding; differentiable, unlike a cache's."""
    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(model.config.n_layers)]
    kept: dict[str, Tensor] = {}

    def keep(stream: Tensor, hook: object) -> None:
        kept[getattr(hook, "name", "")] = stream

    with model.hooks([(name, keep) for name in names]):
        model(prompt, arrangement=arrangement)
    return torch.stack([kept[name] for name in names])


def _beside(model: Transformer, batch: RegressionBatch, queries: Queries) -> AskedStreams:
    n_context, n_asked = queries.shape[1:3]
    flat = rearrange(queries, "batch context n_query d_input -> batch (context n_query) d_input")
    prompt = torch.cat([model.encode(batch), model.plan.questions(flat, batch.ys)], 1)
    streams = streams_of(model, prompt, model.plan.asked_beside(model.visible, n_context, n_asked))
    axes = "layer batch (context n_query) d_model -> layer batch context n_query d_model"
    return rearrange(streams[:, :, 2 * n_context :], axes, context=n_context)


def _in_place(
    model: Transformer, batch: RegressionBatch, queries: Float[Tensor, "batch n_query d_input"]
) -> Float[Tensor, "layer batch 1 n_query d_model"]:
    """The streams at the last place of the prompts with each query as their last x."""
    n_asked = queries.shape[1]
    xs = repeat(batch.xs[:, :-1], "batch context d_input -> batch n_query context d_input", n_query=n_asked)
    xs = rearrange(torch.cat([xs, queries[:, :, None]], 2), "batch n_query context d -> (batch n_query) context d")
    ys = batch.ys.repeat_interleave(n_asked, 0)
    streams = streams_of(model, model.encode(RegressionBatch(xs, ys)))[:, :, -1]
    return rearrange(streams, "layer (batch n_query) d_model -> layer batch 1 n_query d_model", n_query=n_asked)
