"""Nulls of the verdict: what forbids a name, and what does not."""

from dataclasses import replace

import pytest
import torch

from workbench import baselines
from workbench.agreement.hypotheses import paths
from workbench.agreement.nulls import Nulls, relabelled
from workbench.agreement.sight import Sight
from workbench.agreement.verdict import weigh
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.metrics import bootstrap_weights
from workbench.tasks import LinearRegression

TASK = LinearRegression(d_input=3, n_context=10)


@pytest.fixture(scope="module")
def batch() -> RegressionBatch:
    drawn = TASK.prompts(0, "nulls", 0, 64)
    assert isinstance(drawn, RegressionBatch)
    return drawn


@pytest.fixture(scope="module")
def trained(batch) -> Sight:
    """Layers that run gradient descent."""
    prefixes = Prefixes.of(batch.xs, batch.ys)
    layers = baselines.predict("gd", prefixes, steps=[1, 2, 4, 6], relative_step_size=0.7)[..., 1:]
    shares = bootstrap_weights(64, 100, torch.Generator().manual_seed(0))
    return Sight(layers, paths(prefixes, slice(1, 10)), prefixes.ys[:, 1:], shares)


def asked(sight: Sight, batch: RegressionBatch, **options) -> Sight:
    """What the same gradient descent says of this batch."""
    said = baselines.predict("gd", batch.xs, batch.ys, steps=[1, 2, 4, 6], **options)[..., 1:]
    return replace(sight, layers=said)


def test_labels_are_exchanged_within_their_position_and_no_two_of_a_prompt_come_from_the_same(batch):
    other = relabelled(batch)
    assert torch.equal(other.xs, batch.xs)
    assert torch.equal(other.ys.sort(0).values, batch.ys.sort(0).values)
    from_prompt = (other.ys[:, None] == batch.ys[None]).int().argmax(1)
    assert (from_prompt != torch.arange(64)[:, None]).all()
    assert all(len(set(row.tolist())) == 10 for row in from_prompt)


def test_one_prompt_alone_cannot_exchange_labels(batch):
    with pytest.raises(ValueError, match="n_batch must be at least 2"):
        relabelled(batch.prompts(0, 1))


def test_layers_that_take_the_labels_as_they_are_keep_their_name(trained, batch):
    listening = asked(trained, relabelled(batch), relative_step_size=0.7)
    found = weigh(trained, Nulls(relabelled=listening))
    assert found.algorithm == "gd"
    assert any("labels of other prompts" in sentence for sentence in found.evidence)


def test_layers_that_say_the_same_whatever_the_labels_have_no_name(trained):
    found = weigh(trained, Nulls(relabelled=trained))
    assert found.abstained
    assert "do not learn it from the labels" in found.sentence


@pytest.mark.parametrize("who", ["untrained", "others"])
def test_a_model_that_cannot_have_learnt_it_and_says_the_same_forbids_the_name(trained, who):
    null = Nulls(untrained=trained) if who == "untrained" else Nulls(others={"the model of pool": trained})
    told = {"untrained": "the untrained model", "others": "the model of pool"}[who]
    found = weigh(trained, null)
    assert found.abstained
    assert f"the layers of {told} say Gradient descent as well" in found.sentence
    assert any(f"{told} 100%" in sentence for sentence in found.evidence)


def test_a_null_that_runs_another_method_of_gradients_forbids_the_name(trained, batch):
    ball = baselines.predict("momentum", batch.xs, batch.ys, steps=[1, 2, 4, 6], relative_step_size=0.4, momentum=0.6)
    other = replace(trained, layers=ball[..., 1:])
    assert (weigh(other).algorithm, weigh(other).member) == ("gd", "momentum")
    found = weigh(trained, Nulls(others={"the model of ball": other}))
    assert found.abstained
    assert "the layers of the model of ball say Momentum as well" in found.sentence


def test_a_null_that_says_something_else_or_nothing_forbids_nothing(trained, batch):
    knn = baselines.predict("knn", batch.xs, batch.ys)[None, :, 1:].repeat(3, 1, 1)
    silent = replace(trained, layers=torch.zeros_like(trained.layers))
    found = weigh(trained, Nulls(untrained=silent, others={"the model of neighbours": replace(trained, layers=knn)}))
    assert found.algorithm == "gd"
    assert any("the untrained model nothing, as they are silent" in sentence for sentence in found.evidence)
