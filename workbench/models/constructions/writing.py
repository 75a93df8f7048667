"""Weights by hand: a blank model, and one head at a time."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.models.config import TransformerConfig
from workbench.models.layers import Block
from workbench.models.transformer import Transformer

PLAIN = TransformerConfig(
    attention="linear", attention_scale=1.0, positions="none", norm="none", mlp="none", bias=False
)
"""Linear attention alone, with nothing between the weights and what they do."""

OVER_EXAMPLES = replace(PLAIN, layout="pairs", causal=False, query_in_keys=False)
"""The same over tokens (x_i, y_i) and a last one (x_query, 0), all of which see the examples and none the query."""

OVER_TOKENS = TransformerConfig(
    n_heads=1, attention_scale=1.0, norm="none", mlp="none", bias=False, input="tokens", output="logits"
)
"""Causal softmax attention alone over tokens and learned positions."""

SHARP = 100.0
"""A score that leaves e^-100 for others: nothing, beside the rounding of float64."""

NEVER = 200.0
"""A logit so far above others that they have no probability."""


@torch.no_grad()
def blank(config: TransformerConfig, *, d_input: int, n_context: int, n_layers: int, **widths: int) -> Transformer:
    """A float64 model that copies its tokens into the first coordinates of the stream and predicts 0.

    Args:
        config: The rest of what it is made of.
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_layers: Blocks.
        **widths: Of ``d_model``, ``n_heads`` and ``d_head``, those that are not d_input + 1, 1 and d_model.

    Raises:
        InputError: If a size is not a whole number of at least 1.
    """
    sizes = {"d_input": d_input, "n_context": n_context, "n_layers": n_layers}
    refuse_faults([must(name, "be a whole number of at least 1", size, is_count(size)) for name, size in sizes.items()])
    widths = {"d_model": d_input + 1, "n_heads": 1, **widths}
    model = Transformer(replace(config, **sizes, **widths)).double()
    for parameter in model.parameters():
        parameter.zero_()
    torch.nn.init.eye_(model.embed.weight)  # type: ignore[arg-type]  # continuous prompts are read by a map
    return model


@torch.no_grad()
def blank_tokens(config: TransformerConfig, *, d_vocab: int, n_ctx: int, start: int) -> Transformer:
    """A float64 model whose stream begins with the token's one-hot code, then that of its place, and that says nothing.

    Args:
        config: The rest of what it is made of.
        d_vocab: Tokens in the vocabulary.
        n_ctx: Positions.
        start: Id of the start token.

    Raises:
        InputError: If a size is not a whole number of at least 1, or ``start`` is no token.
    """
    refuse_faults(
        [
            must("d_vocab", "be a whole number of at least 2", d_vocab, is_count(d_vocab, 2)),
            must("n_ctx", "be a whole number of at least 2", n_ctx, is_count(n_ctx, 2)),
            must("start", f"be a token id below {d_vocab}", start, is_count(start, 0) and start < d_vocab),
        ]
    )
    model = Transformer(replace(config, d_vocab=d_vocab, n_ctx=n_ctx)).double()
    for parameter in model.parameters():
        parameter.zero_()
    torch.nn.init.eye_(model.embed.weight)  # type: ignore[arg-type]  # a table of token vectors
    model.positions.weight[:, d_vocab : d_vocab + n_ctx] = torch.eye(n_ctx)
    model.unembed.weight[start, d_vocab : d_vocab + n_ctx] = -NEVER
    return model


@torch.no_grad()
def write_head(
    block: Block,
    head: int = 0,
    *,
    query: Float[Tensor, "d_model d_query"],
    key: Float[Tensor, "d_model d_query"],
    value: Float[Tensor, "d_model d_value"],
    out: Float[Tensor, "d_value d_model"],
) -> None:
    """Type in one head: scores are (stream query) . (stream key), and stream value out is what a key gives."""
    attention = block.attn
    attention.W_Q[head][:, : query.shape[1]] = query
    attention.W_K[head][:, : key.shape[1]] = key
    attention.W_V[head][:, : value.shape[1]] = value
    attention.W_O[head][: out.shape[0]] = out


@torch.no_grad()
def write_linear(block: Block, *, read: Float[Tensor, "d_model rank"], write: Float[Tensor, "rank d_model"]) -> None:
    """Type in a ReLU MLP that adds (stream read) write, two units for each column: relu(a) - relu(-a) = a."""
    mlp = block.mlp
    mlp.W_in[:] = torch.cat([read, -read], 1)
    mlp.W_out[:] = torch.cat([write, -write])


@torch.no_grad()
def write_products(
    block: Block,
    first: Float[Tensor, "d_model rank"],
    second: Float[Tensor, "d_model rank"],
    *,
    write: Float[Tensor, "rank d_model"],
) -> None:
    """Type in a SwiGLU MLP that adds ((stream first) * (stream second)) write: silu(a) b + silu(-a) (-b) = a b."""
    mlp = block.mlp
    mlp.W_gate[:] = torch.cat([first, -first], 1)
    mlp.W_in[:] = torch.cat([second, -second], 1)
    mlp.W_out[:] = torch.cat([write, write])


@torch.no_grad()
def predict_minus(model: Transformer, coordinate: Float[Tensor, "d_model 1"]) -> None:
    """Read the prediction out of one coordinate of the stream, with its sign turned."""
    model.unembed.weight[0] = -coordinate[:, 0]


@torch.no_grad()
def say(model: Transformer, logits: Float[Tensor, "d_model d_vocab"]) -> None:
    """Add (stream logits) to what is said."""
    model.unembed.weight += logits.mT


def previous(n_places: int) -> Float[Tensor, "place place"]:
    """From the one-hot code of a place to that of the one before."""
    return torch.diag(torch.ones(n_places - 1, dtype=torch.float64), -1)


def parts(*widths: int) -> tuple[Tensor, ...]:
    """The maps ``[d_model width]`` from the stream to runs of so many coordinates; their transposes write there."""
    return torch.eye(sum(widths), dtype=torch.float64).split(widths, dim=1)


def per_layer(name: str, sizes: float | Sequence[float], n_layers: int) -> list[float]:
    """A size for every layer, from one for all or a list.

    Raises:
        InputError: If one is no finite number, or there is not one for each layer.
    """
    listed: list[float] = [sizes] * n_layers if isinstance(sizes, int | float) else list(sizes)
    refuse_faults(
        [
            must(name, "be a finite number or a list of them", sizes, all(map(is_finite, listed))),
            must(name, f"hold one for each of {n_layers} layers", sizes, len(listed) == n_layers),
        ]
    )
    return listed
