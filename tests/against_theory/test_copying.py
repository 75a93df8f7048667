"""Attention between the tokens of an example: 1 in copying layers written down, chance before training."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.copying import (
    PLACES,
    at_checkpoint,
    chances,
    compare_copying,
    copying,
    has_pairs,
    mixed_sizes,
    mixing,
    shares,
    ways_of,
)
from workbench.against_theory.observed import drawn
from workbench.against_theory.record import to_record
from workbench.against_theory.study import setting_of, study
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.constructions.writing import SHARP
from workbench.models.transformer import Transformer
from workbench.tasks import LinearRegression
from workbench.theory.one_step import optimum
from workbench.training.building import build_model
from workbench.training.config import preset_config

CONFIG = preset_config("linear_regression", "von_oswald_copying_small").resolved()
TASK = CONFIG.task
D, N = 3, 6
POSITIONS = 2 * N + 1
FAST = TheoryConfig(n_prompts=2000, n_curve=400, n_resamples=20)


def untrained() -> Transformer:
    return build_model(CONFIG).double().eval()


@torch.no_grad()
def constructed() -> Transformer:
    """Labels look at their inputs, inputs at themselves; then the best step (von Oswald et al. 2023, proposition 3)."""
    model = untrained()
    for parameter in model.parameters():
        parameter.zero_()
    torch.nn.init.eye_(model.embed.weight)
    x, y, code = slice(0, D), slice(D, D + 1), slice(D + 1, D + 1 + POSITIONS)
    looks_at = torch.zeros(POSITIONS, POSITIONS, dtype=torch.float64)
    for place in range(POSITIONS):
        looks_at[place, place - place % 2] = SHARP
    first, second = (block.attn for block in model.layers)
    first.W_Q[0, code, code] = looks_at
    first.W_K[0, code, code] = torch.eye(POSITIONS, dtype=torch.float64)
    first.W_V[0, x, x] = torch.eye(D, dtype=torch.float64)
    first.W_O[0, x, x] = torch.eye(D, dtype=torch.float64)
    gamma = optimum(setting_of(TASK, model.config).regression)
    second.W_Q[0, x, x] = gamma
    second.W_K[0, x, x] = torch.eye(D, dtype=torch.float64)
    second.W_V[0, y, y] = 1.0
    second.W_O[0, y, y] = -POSITIONS / N / 2  # attention divides by the tokens it sees; the query has doubled itself
    return model


def test_a_copying_layer_written_down_has_all_attention_on_partners_and_takes_the_step():
    found = study(constructed(), untrained(), TASK, FAST, [(0, untrained()), (9, constructed())])
    (form,) = [each for each in found.compared if each.name == "step_behind_copying"]
    rows = {row.quantity: row for row in form.rows}
    assert rows["partner"].measured == pytest.approx(1)
    assert rows["partner"].ci is not None
    assert rows["partner"].ci.low == pytest.approx(1)
    assert rows["partner"].controls["uniform"] == pytest.approx(1 / POSITIONS)
    assert rows["partner"].controls["untrained, its strongest"] == pytest.approx(1 / POSITIONS, rel=0.05)
    assert rows["nmse"].measured == pytest.approx(0, abs=1e-12)
    before, after = found.over_training
    assert before["partner"] == pytest.approx(1 / POSITIONS, rel=0.05)
    assert after["partner"] == pytest.approx(1)
    assert after["excess"] < before["excess"]
    record = to_record(found)["copying"]
    assert {each["way"] for each in record["partners"]} == {"label", "input"}
    assert len(record["partners"]) == 4, "two ways, two layers, one head"


def test_inputs_that_look_at_their_labels_are_the_other_way():
    model = untrained()
    code = slice(D + 1, D + 1 + POSITIONS)
    with torch.no_grad():
        first = model.layers[0].attn
        first.W_Q.zero_()
        first.W_K.zero_()
        first.W_Q[0, code, code] = SHARP * torch.diag(torch.ones(POSITIONS - 1, dtype=torch.float64), 1)
        first.W_K[0, code, code] = torch.eye(POSITIONS, dtype=torch.float64)
    found = copying(model, untrained(), drawn(TASK, 400, 0), FAST)
    of_first = {each.way: each for each in found.partners if each.layer == 1}
    assert of_first["label"].share == pytest.approx(1)
    assert of_first["input"].share == pytest.approx(0), "labels look at the input of the next example"
    assert "inputs to their labels" in compare_copying(found)[0].label


def test_mixing_tells_what_a_token_is_made_of():
    gradient, everywhere = mixing(constructed(), drawn(TASK, 40, 0)).mean(0), torch.ones(POSITIONS, POSITIONS).bool()
    sizes = dict(zip(PLACES, mixed_sizes(gradient, everywhere), strict=True))
    root = math.sqrt(4 * D + 1)  # of an input: its own x twice, its own 0 in the label's place once
    assert sizes["own"] == pytest.approx(((N + 1) * root + N * math.sqrt(D + 1)) / POSITIONS)
    assert sizes["input"] == pytest.approx(math.sqrt(D))
    assert sizes["label"] == pytest.approx(0, abs=1e-12)
    assert sizes["others"] == pytest.approx(0, abs=1e-12)


def test_mixing_is_nothing_beside_oneself_before_training():
    told = at_checkpoint(untrained(), drawn(TASK, 400, 0))
    assert told["mixed_own"] == pytest.approx(math.sqrt(D + 1), rel=0.05)
    assert all(told[f"mixed_{place}"] < 0.1 for place in PLACES[1:])
    assert told["partner"] == pytest.approx(1 / POSITIONS, rel=0.05)


def test_a_causal_previous_token_head_is_found_by_its_place():
    model = CONSTRUCTIONS["gd_from_copies"].build(D, N + 1, step_size=0.5)
    batch = drawn(LinearRegression(d_input=D, n_context=N + 1), 50, 0)
    found = shares(model, batch).mean(0)
    assert found.shape == (1, 2, 2), "an input sees no label after it"
    assert found[0, 0, 0] == pytest.approx(1)
    assert found[0, 0, 1] == pytest.approx(0)
    even = [1 / (2 * i + 2) for i in range(N + 1)]
    assert chances(model, batch)[0] == pytest.approx(sum(even) / len(even))


def test_other_tokens_are_those_that_a_token_sees():
    n = 5  # x y x y x, each of a token behind the layer made from all that it sees with gradients of length 2
    causal = torch.ones(n, n).bool().tril()
    gradient = torch.where(causal, 2.0, 0.0)[..., None].double()
    own, label, back, others = mixed_sizes(gradient, causal).tolist()
    assert (own, back, others) == (2.0, 2.0, 2.0), "what is hidden dilutes nothing"
    assert math.isnan(label), "an input sees no label after it"
    hidden = causal & ~torch.eye(n).bool()
    assert mixed_sizes(gradient, hidden)[0] == 2.0, "a token knows itself through the stream"


def test_a_causal_model_tells_no_gradient_of_labels_that_are_not_seen():
    model = CONSTRUCTIONS["gd_from_copies"].build(D, N + 1, step_size=0.5)
    batch = drawn(LinearRegression(d_input=D, n_context=N + 1), 400, 0)
    assert {each.place for each in copying(model, model, batch, FAST).mixed} == {"own", "input", "others"}
    assert "mixed_label" not in at_checkpoint(model, batch)


def with_partner_heads(**changes: Any) -> Transformer:
    """The small model with other attention, whose first head scores 3 for the input of a label and 0 for all else."""
    model = build_model(replace(CONFIG, model=replace(CONFIG.model, **changes))).double().eval()
    code = slice(D + 1, D + 1 + POSITIONS)
    looks_at = torch.zeros(POSITIONS, POSITIONS, dtype=torch.float64)
    for place in range(1, POSITIONS, 2):
        looks_at[place, place - 1] = 3 / model.layers[0].attn.scale
    with torch.no_grad():
        first = model.layers[0].attn
        first.W_Q.zero_()
        first.W_K.zero_()
        first.W_Q[0, code, code] = looks_at
        first.W_K[0, code, code] = torch.eye(POSITIONS, dtype=torch.float64)
    return model


def test_attention_to_a_sink_goes_to_no_partner():
    model = with_partner_heads(attention="softmax", first_attention=None, sink="logit")
    batch = drawn(TASK, 400, 0)
    rest, back = POSITIONS - 1, list(ways_of(model)).index("input")
    for logit in (0.0, 5.0):
        torch.nn.init.constant_(model.layers[0].attn.sink.logit, logit)
        wanted = math.exp(3) / (math.exp(3) + rest + math.exp(logit))
        assert shares(model, batch)[:, back, 0].mean() == pytest.approx(wanted)


def test_shares_of_sigmoids_are_of_the_row_and_their_size_is_told():
    model = with_partner_heads(first_attention="sigmoid")
    found = copying(model, untrained(), drawn(TASK, 400, 0), FAST)
    (one,) = [each for each in found.partners if (each.layer, each.way) == (1, "input")]
    partner, other = (1 / (1 + math.exp(math.log(POSITIONS) - score)) for score in (3, 0))
    whole = partner + (POSITIONS - 1) * other
    assert one.share == pytest.approx(partner / whole)
    assert one.whole == pytest.approx(whole)


def test_the_control_before_training_is_the_strongest_head_of_the_untrained_model():
    at_labels = with_partner_heads()
    batch = drawn(TASK, 400, 0)
    found = copying(untrained(), at_labels, batch, FAST)
    (strongest,) = [each for each in found.partners if (each.layer, each.way) == (1, "label")]
    assert found.untrained == pytest.approx(float(shares(at_labels, batch).mean(0)[:, 0].max()))
    assert found.untrained > 3 * strongest.untrained, "not that of the head that is strongest once trained"
    (row,) = compare_copying(found)
    assert row.controls["untrained, its strongest"] == found.untrained
    assert row.measured < row.controls["untrained, its strongest"]


def test_prompts_of_pairs_have_no_tokens_to_copy_between():
    assert has_pairs(CONFIG.model)
    assert not has_pairs(preset_config("linear_regression", "von_oswald").resolved().model)
