"""A model whose algorithm is known because its weights were typed."""

import torch
from torch import Tensor

from workbench.models import Transformer, TransformerConfig


def one_step_model(d_input: int, n_context: int) -> Transformer:
    """Linear attention that says sum over j < i of (x_i . x_j) y_j / i: one step of gradient descent on the mean loss.

    von Oswald et al. 2023, proposition 1: queries and keys are x, values are y, the answer goes where y stands.
    """
    config = TransformerConfig(
        n_layers=1,
        d_model=d_input + 1,
        n_heads=1,
        attention="linear",
        attention_scale=1.0,
        layout="pairs",
        query_in_keys=False,
        positions="none",
        norm="none",
        mlp="none",
        bias=False,
        d_input=d_input,
        n_context=n_context,
    )
    model = Transformer(config).double().eval()
    is_x = torch.eye(d_input + 1, dtype=torch.float64)
    is_x[-1, -1] = 0.0
    is_y = torch.eye(d_input + 1, dtype=torch.float64) - is_x
    attention = model.layers[0].attn
    typed = {
        model.embed.weight: is_x + is_y,
        attention.qkv.weight: torch.cat([is_x, is_x, is_y]),
        attention.out.weight: is_y,
        model.unembed.weight: is_y[-1:],
        model.unembed.bias: torch.zeros(1, dtype=torch.float64),
    }
    with torch.no_grad():
        for parameter, values in typed.items():
            assert isinstance(parameter, Tensor)
            parameter.copy_(values)
    return model
