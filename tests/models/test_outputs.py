"""What a model says: losses by hand and by torch, predictions of the labels' shape, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from tests.contracts.test_models import build, prompt
from workbench.batch import RegressionBatch, TokenBatch
from workbench.errors import InputError
from workbench.models import SWITCHES, Transformer, TransformerConfig
from workbench.models.kinds.outputs import OUTPUTS

KINDS = list(SWITCHES["output"])


def batch_for(output: str, n_context: int = 3) -> RegressionBatch | TokenBatch:
    generator = torch.Generator().manual_seed(0)
    if output == "logits":
        tokens, targets = torch.randint(5, (2, 2, 6), generator=generator)
        return TokenBatch(tokens, targets, torch.ones(2, 6, dtype=torch.bool))
    xs = torch.randn(2, n_context, 2, generator=generator, dtype=torch.float64)
    return RegressionBatch(xs, xs * 2 if output == "vector" else xs[..., 0])


def model_for(output: str, **switches) -> Transformer:
    return build({"output": output, "input": "tokens" if output == "logits" else "continuous", **switches})


def test_losses_are_those_of_the_definitions():
    said = torch.tensor([[[0.5, 2.0], [1.0, -1.0]]], dtype=torch.float64)
    labels = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    assert OUTPUTS["scalar"].loss(said, labels).tolist() == [[0.25, 4.0]]
    assert OUTPUTS["vector"].loss(said, torch.zeros_like(said)).tolist() == [[4.25, 2.0]]
    expected = F.gaussian_nll_loss(said[..., 0], labels, said[..., 1].exp(), full=True, reduction="none")
    torch.testing.assert_close(OUTPUTS["mean_variance"].loss(said, labels), expected)
    targets = torch.tensor([[1, 0]])
    expected = -said.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(OUTPUTS["logits"].loss(said, targets), expected)


@pytest.mark.parametrize("output", KINDS)
@pytest.mark.parametrize("causal", [True, False])
def test_losses_are_those_of_the_predictions(output, causal):
    model, batch = model_for(output, causal=causal), batch_for(output)
    losses = model.losses(model(model.encode(batch)), batch)
    if isinstance(batch, TokenBatch):
        expected = F.cross_entropy(model.predict(batch).mT, batch.targets, reduction="none")
    elif output == "mean_variance":
        variance = model.predict_variance(batch)
        expected = F.gaussian_nll_loss(model.predict(batch), batch.ys, variance, full=True, reduction="none")
    else:
        expected = (model.predict(batch) - batch.ys).square().reshape(2, 3, -1).sum(-1)
    torch.testing.assert_close(losses, expected[:, -losses.shape[1] :])


@pytest.mark.parametrize("output", ["scalar", "mean_variance", "vector"])
@pytest.mark.parametrize("layout", [name for name, layout in SWITCHES["layout"].items() if not layout.sequence])
@pytest.mark.parametrize("causal", [True, False])
def test_predictions_have_the_labels_shape_and_ignore_the_label_asked_for(output, layout, causal):
    model, batch = model_for(output, layout=layout, causal=causal), batch_for(output)
    before = model.predict(batch)
    assert before.shape == batch.ys.shape
    ys = batch.ys.clone()
    ys[:, 1] += 1.0
    after = model.predict(RegressionBatch(batch.xs, ys))
    torch.testing.assert_close(after[:, :2], before[:, :2], rtol=0, atol=1e-12)
    assert (after[:, 2] - before[:, 2]).abs().min() > 1e-6


def test_losses_of_replicas_are_those_of_each():
    for output in KINDS:
        kind, batch = OUTPUTS[output], batch_for(output)
        labels = batch.targets if isinstance(batch, TokenBatch) else batch.ys
        width = {"scalar": 1, "logits": 5}.get(output, 2)
        generator = torch.Generator().manual_seed(1)
        said = torch.randn(3, *labels.shape[:2], width, generator=generator, dtype=torch.float64)
        together = torch.func.vmap(kind.loss, in_dims=(0, None))(said, labels)
        alone = torch.stack([kind.loss(one, labels) for one in said])
        torch.testing.assert_close(together, alone)


def test_vector_labels_stand_where_the_layout_says():
    xs, ys = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[5.0, 6.0]]])
    expected = {
        "interleaved": [[1, 2, 3, 0, 0], [0, 0, 0, 5, 6]],
        "interleaved_shared": [[1, 2, 3], [5, 6, 0]],
        "pairs": [[1, 2, 3, 0, 0], [1, 2, 3, 5, 6]],
    }
    for layout, rows in expected.items():
        config = TransformerConfig(
            n_layers=1, d_model=8, n_heads=2, layout=layout, output="vector", d_input=3, d_output=2, n_context=1
        )
        assert Transformer(config).encode(RegressionBatch(xs, ys))[0].tolist() == rows


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model_for("scalar").encode(batch_for("vector")), r"labels must be \[batch context\] for output 'sca"),
        (lambda: model_for("vector").encode(batch_for("scalar")), r"labels must be \[batch context 2\] for output 'v"),
        (lambda: model_for("scalar").losses(torch.zeros(2, 6, 1), batch_for("vector")), r"labels must be \[batch cont"),
        (lambda: model_for("scalar").losses(torch.zeros(2, 6, 1), batch_for("logits")), "got TokenBatch"),
        (lambda: model_for("logits").losses(torch.zeros(2, 6, 5), batch_for("scalar")), "got RegressionBatch"),
        (lambda: model_for("scalar").predict_variance(batch_for("scalar")), "output must be 'mean_variance'"),
        (lambda: model_for("scalar").predict(batch_for("logits")), "prompt must be vectors"),
        (lambda: TransformerConfig(d_output=2), "output must be 'vector' for labels of d_output 2; got 'scalar'"),
        (lambda: Transformer(TransformerConfig(output="vector", d_input=2, n_context=2)), "d_output must be given"),
        (
            lambda: TransformerConfig(output="vector", layout="interleaved_shared", d_input=2, d_output=3),
            "d_output must be at most d_input 2 in layout 'interleaved_shared'; got 3",
        ),
    ],
)
def test_labels_of_the_wrong_kind_are_refused(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_the_read_out_of_a_prompt_has_one_row_per_label():
    model = model_for("vector")
    assert model.read_out(model(prompt(model))).shape == (2, 3, 2)
