"""Streams at the queries are those of TransformerLens's cache, for causal models and for prefixes alone."""

import pytest
import torch

from workbench.activations import query_streams
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import LinearRegression

TASK = LinearRegression(d_input=2, n_context=3)


@pytest.mark.parametrize("layout", ["interleaved", "pairs"])
@pytest.mark.parametrize("causal", [True, False])
def test_the_last_layers_stream_reads_out_to_the_models_own_predictions(layout, causal):
    config = TransformerConfig(n_layers=2, d_model=8, n_heads=2, layout=layout, causal=causal)
    model = Transformer(config.shaped(TASK.model_shape())).double().eval()
    batch = TASK.prompts(0, "test", 0, 4).to(dtype=torch.float64)
    streams = query_streams(model, batch)
    assert streams.shape == (3, 4, 3, 8)
    read = model.unembed(model.ln_final(streams[-1]))[..., 0]
    torch.testing.assert_close(read, model.predict(batch), rtol=0, atol=1e-12)


def test_layer_zero_is_the_embedding_with_its_position():
    model = Transformer(TransformerConfig(n_layers=2, d_model=8, n_heads=2).shaped(TASK.model_shape())).eval()
    batch = TASK.prompts(0, "test", 0, 4)
    _, cache = model.run_with_cache(model.encode(batch))
    expected = (cache["hook_embed"] + cache["hook_pos_embed"])[:, ::2]
    torch.testing.assert_close(query_streams(model, batch)[0], expected)
