"""The head record, on transformers whose circuits are typed by hand, and on heads known to do nothing."""

import math
from dataclasses import replace

import pytest
import torch

from circuits.extreme import massive_activations, sink_channels
from circuits.folding import fold
from circuits.heads import HeadsConfig, measure_heads
from circuits.interventions import silencing
from circuits.labels import LabelRules, contrast, labels
from circuits.reading import attention_received, row_entropy
from circuits.record import Mean
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.models.constructions.bigram_backcopy import BIGRAM_BACKCOPY
from workbench.models.constructions.induction import INDUCTION
from workbench.tasks import BigramBackcopy, LinearRegression, RepeatedTokens
from workbench.tasks.chains import law_of

CONFIG = HeadsConfig(n_prompts=16, n_batch=5)
REPEATED = RepeatedTokens(n_tokens=20, n_positions=24, min_block=5, max_block=10, scored="repeats")
BACKCOPY = BigramBackcopy(counts="synthetic", n_positions=32)


def measured(model, task, config=CONFIG):
    domains = task.domains(config.seed, config.n_prompts)
    first = task.first_token()
    return measure_heads(model.eval(), domains, task.ordinary_tokens(), first, config, weights=fold(model))


@pytest.fixture(scope="module")
def induction():
    return measured(INDUCTION.build(21, 24, start=20), REPEATED)


@pytest.fixture(scope="module")
def backcopy():
    law = law_of("synthetic", torch.device("cpu"))
    bigram = torch.zeros(65, 65, dtype=torch.float64)
    bigram[:64, :64] = law.bigram
    first = law.unigram * ~law.triggers(3)
    bigram[64, :64] = first / first.sum()
    return measured(BIGRAM_BACKCOPY.build(65, 32, start=64, bigram=bigram, triggers=BACKCOPY.triggers()), BACKCOPY)


def labels_of(record):
    return {(head["layer"], head["head"]): set(head["labels"]) - {"sink"} for head in record["heads"]}


def test_the_heads_of_an_induction_circuit_are_found(induction):
    assert labels_of(induction) == {at: set(named) for at, named in INDUCTION.heads.items()}
    first, second = induction["heads"]
    assert (first["previous_token"], second["induction"], second["copying"]) == pytest.approx((1.0, 1.0, 1.0))
    assert first["induction"] == pytest.approx(0.0)
    assert second["composition"]["k"]["z"] > 5
    assert max(second["composition"][kind]["z"] for kind in "qv") < 0
    assert first["composition"]["k"] is None


def test_silencing_either_head_costs_all_that_the_circuit_knows(induction):
    """What is left is the uniform guess over all but the start token; the start token's share says nothing."""
    loss = induction["domains"]["all"]["loss"]["mean"]
    for head in induction["heads"]:
        for kind in ("zeroed", "to_first"):
            changed = head["loss_changes"][kind]["all"]
            assert loss + changed["mean"] == pytest.approx(math.log(20), abs=0.02)
            assert changed["standard_error"] < 0.2 * changed["mean"]


def test_the_backcopy_head_is_active_dormant_by_both_contrasts(backcopy):
    (head,) = backcopy["heads"]
    assert head["labels"] == ["sink", "active_dormant"]
    assert head["sink_mass_by_domain"] == pytest.approx({"non_trigger": 1.0, "trigger": 0.0})
    assert head["loss_change_by_domain"]["non_trigger"] == pytest.approx(0.0)
    assert head["loss_change_by_domain"]["trigger"] == pytest.approx(math.log(64), rel=0.01)
    assert head["value_ratio"] == pytest.approx(0.0), "the start token's value is zero"
    assert head["chance"]["sink_mass"] < 0.2
    assert backcopy["sink_tokens"][0] == {
        "position": 0,
        "token": 64,
        "sink_share": 1.0,
        "value_ratio": 0.0,
        "residual_ratio": pytest.approx(0.99, abs=0.02),
    }
    assert backcopy["extreme"]["sink"]["non_trigger"]["rate"] == 1.0
    assert backcopy["extreme"]["sink"]["non_trigger"]["T"] == 32


def test_an_untrained_model_earns_no_label_and_is_at_chance():
    config = TransformerConfig(n_layers=2, d_model=32, n_heads=4).shaped(REPEATED.model_shape())
    record = measured(Transformer(config), REPEATED)
    assert all(not named for named in labels_of(record).values())
    for head in record["heads"]:
        for name in ("previous_token", "duplicate", "induction"):
            assert head[name] < head["chance"][name] + 0.15
        assert abs(head["copying_z"]) < 6


def test_scores_of_one_prompt_at_a_time_are_the_same(induction):
    one = measured(INDUCTION.build(21, 24, start=20), REPEATED, replace(CONFIG, n_batch=1))
    for name in ("sink_mass", "value_ratio", "induction", "loss_change_zeroed"):
        assert [h[name] for h in one["heads"]] == pytest.approx([h[name] for h in induction["heads"]])


def test_interventions_hand_back_copies():
    generator = torch.Generator().manual_seed(0)
    z, pattern = torch.rand(2, 5, 3, 4, generator=generator), torch.rand(2, 3, 5, 5, generator=generator)
    before = z.clone(), pattern.clone()
    mean = torch.rand(1, 3, 4, generator=generator)
    for kind, value, wanted in (
        ("zeroed", z, torch.zeros(4)),
        ("mean_ablated", z, mean[0, 1]),
    ):
        changed = silencing(kind, 0, 1, mean)[1](value, hook=None)
        assert (changed[:, :, 1] == wanted).all()
        assert torch.equal(changed[:, :, [0, 2]], z[:, :, [0, 2]])
    rested = silencing("to_first", 0, 1, mean)[1](pattern, hook=None)
    assert (rested[:, 1, :, 0] == 1).all()
    assert rested[:, 1].sum().item() == 10
    assert torch.equal(z, before[0])
    assert torch.equal(pattern, before[1])


def test_entropy_and_attention_received_of_known_patterns():
    n = 6
    flat = (torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]).double()[None, None]
    sharp = torch.eye(n).double()[None, None]
    torch.testing.assert_close(row_entropy(flat)[0, 0, 1:], torch.ones(5).double())
    assert row_entropy(sharp).abs().max() == 0
    alpha = attention_received(flat)[0, 0]
    assert alpha[0].item() == pytest.approx(sum(1 / i for i in range(1, 7)) / 6)
    assert alpha[5].item() == pytest.approx(1 / 6)
    torch.testing.assert_close(attention_received(sharp)[0, 0], 1 / torch.arange(6, 0, -1).double())


def mean(value: float, error: float = 0.001) -> Mean:
    return Mean(value, error)


@pytest.mark.parametrize(
    ("sink", "loss", "holds"),
    [
        ((0.9, 0.2), (0.001, 0.5), True),
        ((0.9, 0.7), (0.001, 0.5), False),  # no contrast in sink mass
        ((0.9, 0.2), (0.4, 0.5), False),  # it matters as much where it rests
        ((0.9, 0.2), (0.0, 0.0), False),  # it matters nowhere
        ((0.9, 0.2), (0.5, 0.001), False),  # it matters where it rests
    ],
)
def test_active_dormant_needs_both_contrasts(sink, loss, holds):
    masses = {"a": mean(sink[0]), "b": mean(sink[1])}
    changes = {"a": mean(loss[0]), "b": mean(loss[1])}
    found = contrast(masses, changes, LabelRules())
    assert found is not None
    assert (found.rests_in, found.acts_in, found.holds) == ("a", "b", holds)
    unsure = {name: replace(each, standard_error=1.0) for name, each in changes.items()}
    assert not contrast(masses, unsure, LabelRules()).holds
    assert contrast({"a": masses["a"]}, changes, LabelRules()) is None


def test_labels_are_views_over_scores():
    scores = {name: mean(0.45) for name in ("previous_token", "duplicate", "induction")}
    chances = {name: mean(0.1) for name in scores}
    told = labels(scores, chances, {"a": mean(0.6)}, None, LabelRules())
    assert told == ["sink"], "(.45 - .1) / .9 is below .4"
    assert labels(scores, chances, {"a": mean(0.6)}, None, LabelRules(induction=0.3, sink=0.7)) == ["induction"]
    with pytest.raises(InputError, match=r"rules\.sink must be at least 0"):
        LabelRules(sink=-1.0)


def test_massive_activations_and_their_channels_are_found():
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(8, 20, 16, generator=generator).double()
    assert sink_channels(size) == []
    size[:, 0, 5], size[:, 0, 11] = 50.0, 90.0
    assert sink_channels(size) == [11, 5]
    config = TransformerConfig(n_layers=1, d_model=16, n_heads=1, mlp="none").shaped(BACKCOPY.model_shape())
    model = Transformer(config).eval()
    tokens = BACKCOPY.prompts(0, "test", 0, 4).tokens
    assert not any(each.is_massive or each.sink_channels for each in massive_activations(model, tokens))
    with torch.no_grad():
        model.W_E[64, 3] = 5000.0
    first, last = massive_activations(model, tokens)
    assert (first.position, first.channel, first.is_massive, first.sink_channels) == (0, 3, True, (3,))
    assert (first.stream, last.stream) == (0, 1)


def test_impossible_settings_and_prompts_of_vectors_are_refused():
    with pytest.raises(InputError, match="n_prompts must be a whole number of at least 2"):
        HeadsConfig(n_prompts=1)
    with pytest.raises(InputError, match="epsilon must be between 0 and 1"):
        HeadsConfig(epsilon=2.0)
    assert not hasattr(LinearRegression(), "domains")
    model = Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=1).shaped(BACKCOPY.model_shape()))
    with pytest.raises(InputError, match="heads needs prompts of token ids in at least one domain"):
        measure_heads(model, {}, range(64), 64, CONFIG)
