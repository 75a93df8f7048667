"""Sinks, drains and peaks: against loops, on a model made by hand, over checkpoints, and slopes on made-up series."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from circuits.phenomena import phenomena
from circuits.phenomena_over_training import PhenomenaConfig, fits, line, over_training
from circuits.sink_study import ARMS, study
from tests.helpers import tiny_run
from workbench.arms import train_arms
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.models.constructions.bigram_backcopy import BIGRAM_BACKCOPY
from workbench.opened import Run
from workbench.tasks import BigramBackcopy
from workbench.tasks.chains import law_of
from workbench.training.building import build_model
from workbench.training.config import RunConfig, TrainConfig, preset_config
from workbench.training.loop import train

TASK = BigramBackcopy(counts="synthetic", n_positions=16)
SHAPE = TransformerConfig(n_layers=2, d_model=16, n_heads=2, mlp="relu", bias=False).shaped(TASK.model_shape())


def model_of(config: TransformerConfig) -> Transformer:
    return Transformer(config, torch.Generator().manual_seed(0)).double().eval()


@pytest.fixture(scope="module")
def by_hand():
    law = law_of("synthetic", torch.device("cpu"))
    rows = torch.zeros(65, 65, dtype=torch.float64)
    rows[:64, :64] = law.bigram
    first = law.unigram * ~law.triggers(3)
    rows[64, :64] = first / first.sum()
    return BIGRAM_BACKCOPY.build(65, 16, start=64, bigram=rows, triggers=TASK.triggers()).eval()


def test_a_model_that_is_the_law_has_no_excess_and_its_head_matters_on_triggers_alone(by_hand):
    found = phenomena(by_hand, TASK, n_prompts=12, n_batch=5, silence=True)
    risks, without = found["risks"], found["without_attention"]
    assert abs(risks["excess_bigram"]["mean"]) < 1e-3
    assert abs(risks["excess_backcopy"]["mean"]) < 1e-2
    assert risks["floor_backcopy"]["mean"] == 0.0, "a copy is certain"
    assert abs(without[0]["excess_bigram"]["mean"]) < 1e-3
    assert without[0]["excess_backcopy"]["mean"] > 1
    [head] = found["heads"]
    assert head["row_sum"] == pytest.approx(1.0)


def test_numbers_are_those_of_a_loop_over_prompts_and_positions():
    model = model_of(SHAPE)
    found = phenomena(model, TASK, seed=3, n_prompts=7, n_batch=3)
    batch = TASK.domains(3, 7)["trigger"]
    _, cache = model.run_with_cache(batch.tokens)
    for record in found["heads"]:
        layer, head = record["layer"], record["head"]
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][:, head]
        block = model.blocks[layer].attn
        read = cache[f"blocks.{layer}.ln1.hook_normalized"] if layer else None
        values = cache[f"blocks.{layer}.attn.hook_v"][:, :, head] @ block.W_O[head]
        rests = []
        for b in range(7):
            wanted = [q for q in range(1, 16) if batch.tokens[b, q] not in TASK.triggers()]
            rests.append(sum(pattern[b, q, 0].item() for q in wanted) / len(wanted))
        assert record["attention"] == pytest.approx(sum(rests) / 7)
        norms = values.norm(dim=-1)
        assert record["value_norm"] == pytest.approx(norms[:, 0].mean().item())
        assert record["value_ratio"] == pytest.approx((norms[:, 0].mean() / norms[:, 1:].mean()).item())
        cosine = torch.cosine_similarity(values[:, 0], values[:, 1:].mean(1), dim=-1).mean().item()
        assert record["value_cosine"] == pytest.approx(cosine)
        assert read is None or torch.isfinite(read).all()
    for record in found["layers"]:
        norms = cache[f"blocks.{record['layer']}.hook_resid_post"].norm(dim=-1)
        assert record["norm"] == pytest.approx(norms[:, 0].mean().item())
        assert record["ratio"] == pytest.approx((norms[:, 0].mean() / norms[:, 1:].mean()).item())


@pytest.mark.parametrize("arm", ARMS.values(), ids=list(ARMS))
def test_every_arm_can_be_read(arm):
    model = replace(arm.config("small", 0).model, d_model=16, n_ctx=16, n_layers=1, d_vocab=65)
    task = replace(arm.config("small", 0).task, counts="synthetic", n_positions=16)
    found = phenomena(model_of(model), task, n_prompts=4, silence=True)
    [head] = found["heads"]
    assert 0 <= head["attention"] <= 1
    sums_to_one = model.attention == "softmax" and model.sink == "none"
    assert (abs(head["row_sum"] - 1) < 1e-9) == sums_to_one
    assert found["layers"][0]["ratio"] > 0


# Over training


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = TrainConfig(n_steps=4, n_batch=4, checkpoint_every=1, checkpoints_per_decade=0)
    folder = tiny_run(tmp_path_factory.mktemp("runs"), "bb", RunConfig(TASK, SHAPE, settings).resolved())
    train(folder)
    return Run(folder)


def test_all_checkpoints_are_read_once_and_the_last_without_attention_too(run: Run):
    told: list[str] = []
    config = PhenomenaConfig(n_prompts=6, n_batch=4, seed=1)
    record = over_training(run, config, told.append)
    assert [row["step"] for row in record["rows"]] == [0, 1, 2, 3, 4]
    assert ["without_attention" in row for row in record["rows"]] == [False] * 4 + [True]
    last = phenomena(run.model(4), TASK, seed=1, n_prompts=6, n_batch=4)
    assert record["rows"][-1]["heads"] == last["heads"]
    assert told == ["reading 5 checkpoints"]
    assert over_training(run, config, told.append) == record
    assert len(told) == 1
    assert over_training(run, replace(config, seed=2))["rows"] != record["rows"]


def test_other_tasks_and_bad_settings_are_refused(tmp_path: Path, run: Run):
    with pytest.raises(InputError, match="needs a run of task 'bigram_backcopy'; 'tiny' is of 'linear_regression'"):
        over_training(Run(tiny_run(tmp_path)))
    untrained = tiny_run(tmp_path, "fresh", run.config)
    with pytest.raises(InputError, match="run 'fresh' must have a checkpoint"):
        over_training(Run(untrained))
    with pytest.raises(InputError, match="n_prompts must be a whole number of at least 2; got 1"):
        PhenomenaConfig(n_prompts=1)


def test_slopes_are_those_that_series_were_made_with():
    log = [(step, 2.5 * torch.tensor(float(step)).log().item() - 1) for step in (10, 20, 50, 100)]
    assert line(log, log=True) == {"slope": pytest.approx(2.5, rel=1e-5), "r2": pytest.approx(1.0), "n": 4}
    straight = [(step, 3 + step * 0.013) for step in (2000, 5000, 10_000)]
    assert line(straight, log=False)["slope"] == pytest.approx(13.0)
    assert line(straight, log=True)["r2"] < 0.99
    assert line(straight[:2], log=False) == {"slope": None, "r2": None, "n": 2}
    assert line([(5, 1.0), (6, 1.0), (7, 1.0)], log=False)["r2"] is None


def test_slopes_take_the_checkpoints_of_their_window_alone():
    def row(step: int, norm: float) -> dict:
        head = {"layer": 0, "logit": {"mean": 2.0 * step}, "value_norm": 1.0}
        return {"step": step, "heads": [head], "layers": [{"norm": norm}]}

    found = fits([row(0, 9.0), row(10, 5.0), row(20, 1.0), row(50, 2.5), row(100, 5.0)], 100)
    [norm] = [fit for fit in found if fit["quantity"] == "norm"]
    assert (norm["from_step"], norm["to_step"], norm["n"]) == (20.0, 100.0, 3)
    assert norm["slope"] == pytest.approx(50.0)
    early, late = (fit for fit in found if fit["quantity"] == "logit")
    assert (early["n"], late["n"]) == (1, 4)


# The study


def test_the_study_tells_arms_apart_and_counts_seeds(tmp_path: Path):
    changes = {"task.n_positions": 12, "task.counts": "synthetic", "model.d_model": 8, "model.n_layers": 1}
    changes |= {"train.n_steps": 2, "train.n_batch": 2, "train.checkpoint_every": 1}
    arms = [ARMS["bb3-softmax"], ARMS["bb3-relu"]]
    trained = train_arms(arms, tmp_path, n_seeds=2, changes=changes)
    record = study(trained, PhenomenaConfig(n_prompts=4))
    assert [arm["arm"] for arm in record["arms"]] == ["bb3-softmax", "bb3-relu"]
    for arm, each in zip(record["arms"], trained, strict=True):
        assert (arm["n_seeds"], arm["training_failed"], arm["not_learnt"]) == (2, {}, 2), "two updates teach nothing"
        assert [row["step"] for row in arm["rows"]] == [0, 1, 2]
        ends = [over_training(run, PhenomenaConfig(n_prompts=4))["rows"][-1] for run in each.runs.values()]
        rests = [row["heads"][0]["attention"] for row in ends]
        assert arm["rows"][-1]["sink"]["mean"] == pytest.approx(sum(rests) / 2)
        assert arm["rows"][-1]["peak"]["n"] == 2
        assert arm["with_sink"] == sum(rest > 0.5 for rest in rests)
    failed = replace(trained[0], failed={0: "the loss is nan"}, runs={1: trained[0].runs[1]})
    [arm] = study([failed], PhenomenaConfig(n_prompts=4))["arms"]
    assert (arm["n_seeds"], arm["training_failed"], arm["rows"][-1]["sink"]["n"]) == (2, {0: "the loss is nan"}, 1)


def test_the_papers_presets_begin_where_the_published_runs_begin():
    """Guo et al.'s stored step 0: value norm 5.20, stream after the first block 24.3, bigram risk 4.43."""
    config = preset_config("bigram_backcopy", "paper").resolved()
    for seed in (0, 1):
        model = build_model(replace(config, train=replace(config.train, seed=seed)))
        row = phenomena(model, config.task, n_prompts=2, n_batch=2, seed=0, silence=False)
        assert row["heads"][0]["value_norm"] == pytest.approx(5.2, rel=0.2)
        assert row["layers"][0]["norm"] == pytest.approx(24.3, rel=0.1)
        assert row["risks"]["bigram"]["mean"] == pytest.approx(4.43, abs=0.15)
