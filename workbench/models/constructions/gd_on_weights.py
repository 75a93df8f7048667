"""Gradient descent whose state is the weight vector, in the stream of every token: what probes must find.

Not in the registry, whose models hold their predictions after every layer: this one says nothing before its last.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from workbench.models.constructions.writing import OVER_EXAMPLES, blank, parts, per_layer, predict_minus, write_head
from workbench.models.transformer import Transformer


@torch.no_grad()
def build(d_input: int, n_context: int, n_steps: int, *, step_size: float | Sequence[float]) -> Transformer:
    """The stream is (x, y, w, 1): w_0 = 0, w <- w + eta mean_i (y_i - w . x_i) x_i in each of ``n_steps`` blocks.

    One head adds eta mean_i y_i x_i, the other takes eta mean_i (w . x_i) x_i away. After block l every token holds
    w_l, exactly; nothing else holds what was learnt, so that whoever replaces w at every token replaces what the model
    knows. The block after the last step reads: it writes -w . x to the label's coordinate of the query.

    Args:
        d_input: Size of one x.
        n_context: Examples in the longest prompt.
        n_steps: Steps; the model has one more block.
        step_size: Eta on the mean loss, for all steps or one for each.

    Raises:
        InputError: If a size is out of range, or there is not one eta for each step.
    """
    widths = (d_input, 1, d_input, 1)
    config = replace(OVER_EXAMPLES, positions="learned")
    sizes = {"d_model": sum(widths), "n_heads": 2, "d_head": d_input}
    model = blank(config, d_input=d_input, n_context=n_context, n_layers=n_steps + 1, **sizes)
    x, y, w, one = parts(*widths)
    assert isinstance(model.positions, nn.Embedding)
    model.positions.weight += one[:, 0]
    *learning, reading = model.layers
    for block, eta in zip(learning, per_layer("step_size", step_size, n_steps), strict=True):
        write_head(block, 0, query=one, key=y, value=x, out=eta * w.mT)
        write_head(block, 1, query=w, key=x, value=x, out=-eta * w.mT)
    write_head(reading, 0, query=x, key=w, value=one, out=-y.mT)
    predict_minus(model, y)
    return model
