"""Transformers between two others, by their products: what lies between trained and constructed weights."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import must, refuse_faults
from workbench.models.transformer import Transformer
from workbench.weights.products import Products, products


@torch.no_grad()
def with_products(model: Transformer, found: Products) -> Transformer:
    """A float64 model with these products and plain factors: keys and values are tokens, and streams too.

    Args:
        model: Where everything but the weights is taken from; its read-out must be that of a token's coordinates.
        found: Products of as many heads and layers.
    """
    d_token = found.key_query.shape[-1]
    plain = replace(model.config, products="separate", projections=True)
    config = replace(plain, d_model=d_token, d_head=d_token, attention_scale=1.0)
    built = Transformer(config).double()
    for parameter in built.parameters():
        parameter.zero_()
    torch.nn.init.eye_(built.embed.weight)  # type: ignore[arg-type]
    built.unembed.weight.copy_(_read_out(model))
    if built.unembed.bias is not None:
        built.unembed.bias.copy_(model.unembed.bias_or_zero)
    eye = torch.eye(d_token, dtype=torch.float64)
    for block, scores, written in zip(built.layers, found.key_query, found.output_value, strict=True):
        for head in range(config.n_heads):
            block.attn.W_K[head].copy_(eye)
            block.attn.W_Q[head].copy_(scores[head].mT)
            block.attn.W_V[head].copy_(eye)
            block.attn.W_O[head].copy_(written[head])
    return built.eval()


def _read_out(model: Transformer) -> Float[Tensor, "one d_token"]:
    """The read-out of a token, through the read-in."""
    return model.unembed.weight.detach().double() @ model.embed.weight.detach().double()  # type: ignore[operator]


def interpolate(first: Transformer, second: Transformer, shares: Sequence[float]) -> list[Transformer]:
    """Models whose products are averages of both models', after the second's scales are made the first's.

    In every layer and head KQ and OV are fixed up to a factor that one may pass to the other. That factor of the
    second model is chosen so that the mean diagonal entry of its KQ among the inputs is the first's; where one of
    them is 0 it is left alone.

    Args:
        first: A model of linear attention with square read-in, and no MLP.
        second: Another of as many layers, heads and coordinates, with the same read-out up to rounding.
        shares: Of the second, 0 for the first alone.

    Raises:
        InputError: If the models are not alike, or their products do not tell all of them.

    Source:
        von Oswald et al. 2023, arXiv:2212.07677, section 4 and their released notebook, for shares of one half.
    """
    one, other = products(first), products(second)
    shapes = [tuple(each.key_query.shape) for each in (one, other)]
    refuse_faults(
        [
            must("models", "have as many layers, heads and coordinates", shapes, shapes[0] == shapes[1]),
            *(_fault(name, model, each) for name, model, each in (("first", first, one), ("second", second, other))),
        ]
    )
    other = _aligned(_read_out_by(first, second, other), one)
    return [with_products(first, _mixed(one, other, share)) for share in shares]


def _fault(name: str, model: Transformer, found: Products) -> str:
    config = model.config
    faults = [
        must(f"{name} model's attention", "be 'linear'", config.attention, config.attention == "linear"),
        must(f"{name} model's mlp", "be 'none'", config.mlp, config.mlp == "none"),
        must(f"{name} model's heads", "write tokens", "others", bool((found.outside < 1e-6).all())),
    ]
    return next((fault for fault in faults if fault), "")


def _read_out_by(first: Transformer, second: Transformer, found: Products) -> Products:
    """The second model's products, its heads writing for the first one's read-out.

    Where the read-outs are no multiples of each other that is possible for one layer alone, of which only ``read``
    reaches the prediction.
    """
    one, other = (_read_out(model)[0] for model in (first, second))
    factor = float((other * one).sum() / one.square().sum())
    if torch.allclose(other, factor * one, atol=1e-6 * float(other.abs().max())):
        return replace(found, output_value=factor * found.output_value)
    n_layers = len(found.read)
    rule = "have multiples of one read-out in models of several layers"
    refuse_faults([must("models", rule, f"others in {n_layers} layers", n_layers == 1)])
    return replace(found, output_value=found.read[..., None] * (one / one.square().sum()))


def _aligned(found: Products, to: Products) -> Products:
    d = found.d_input
    means = [each.key_query[..., :d, :d].diagonal(dim1=-2, dim2=-1).mean(-1) for each in (to, found)]
    usable = (means[0].abs() > 1e-12) & (means[1].abs() > 1e-12)
    factor = torch.where(usable, means[0] / torch.where(usable, means[1], 1.0), 1.0)[..., None, None]
    return replace(found, key_query=factor * found.key_query, output_value=found.output_value / factor)


def _mixed(one: Products, other: Products, share: float) -> Products:
    return replace(
        one,
        key_query=(1 - share) * one.key_query + share * other.key_query,
        output_value=(1 - share) * one.output_value + share * other.output_value,
    )
