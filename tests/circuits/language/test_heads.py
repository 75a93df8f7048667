"""Head records of language models."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from circuits import kept_models
from circuits.heads import HeadsConfig
from circuits.kept_models import kept_patterns, model_names, record_paths
from circuits.kept_patterns import patterns_from_data
from circuits.language import LanguageModel, Text, open_language_model
from circuits.of_language_models import LanguageConfig, LanguageHeads, heads_of_language_model, n_at_once, next_tokens
from circuits.prompt_patterns import with_patterns
from workbench.cli import main
from workbench.cli.heads import print_heads
from workbench.errors import InputError
from workbench.files import read_json
from workbench.runs import RunFolder

SMALL = LanguageConfig(
    n_prompts=3, n_tokens=16, n_silenced=2, n_induction=2, heads=HeadsConfig(sink_length=8, n_block=5)
)
TEXTS = {
    name: Text(name, name, lambda words=words: words * 60, "made here")
    for name, words in (("sea", "the ship the sea "), ("whale", "a whale is no fish "))
}


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return open_language_model(str(folder))


@pytest.fixture(scope="module")
def record(found: LanguageHeads) -> dict:
    return found.record


@pytest.fixture(scope="module")
def found(model: LanguageModel) -> LanguageHeads:
    return heads_of_language_model(model, TEXTS, SMALL)


def test_every_position_predicts_the_token_after_it():
    batch = next_tokens(torch.tensor([[5, 6, 7]]))
    assert batch.targets[batch.loss_mask].tolist() == [6, 7]


def test_losses_and_sinks_are_those_of_the_model_itself(model: LanguageModel, folder: Path, record: dict):
    from transformers import LlamaForCausalLM

    original = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager")
    ids = model.tokenize("the ship the sea " * 60)
    windows = torch.tensor(ids[: len(ids) // 15 * 15]).view(-1, 15)
    rows = windows[torch.arange(3) * len(windows) // 3]
    rows = torch.cat([torch.zeros(3, 1, dtype=torch.int64), rows], 1)
    with torch.no_grad():
        said = original(rows, labels=rows, output_attentions=True)
    assert record["domains"]["sea"]["loss"]["mean"] == pytest.approx(said.loss.item(), abs=1e-5)
    patterns = torch.stack(said.attentions)[:, :, :, 1:-1, 0].mean((1, 3))
    for head in record["heads"]:
        expected = patterns[head["layer"], head["head"]].item()
        assert head["sink_mass_by_domain"]["sea"] == pytest.approx(expected, abs=1e-5)


def test_the_heads_that_differ_most_between_domains_are_silenced(record: dict):
    def spread(head: dict) -> float:
        masses = head["sink_mass_by_domain"].values()
        return max(masses) - min(masses)

    silenced = [head for head in record["heads"] if head["loss_change_zeroed"] is not None]
    most = sorted(record["heads"], key=spread)[-2:]
    assert len(record["heads"]) == 8
    assert {(h["layer"], h["head"]) for h in silenced} == {(h["layer"], h["head"]) for h in most}
    assert all(head["labels"].count("active_dormant") == 0 for head in record["heads"] if head not in silenced)


def test_every_head_can_be_zeroed_on_a_few_windows_and_those_worth_most_in_one_text_are_silenced(
    model: LanguageModel, capsys: pytest.CaptureFixture[str]
):
    told = heads_of_language_model(model, TEXTS, replace(SMALL, n_screened=2, n_induction=0)).record
    silenced = [head for head in told["heads"] if head["loss_change_zeroed"] is not None]

    def spread(head: dict, of: str) -> float:
        means = [each["mean"] if of == "screened" else each for each in head[of].values()]
        return max(means) - min(means)

    [by_sink] = sorted(told["heads"], key=lambda head: spread(head, "sink_mass_by_domain"))[-1:]
    [by_loss] = sorted(
        (head for head in told["heads"] if head is not by_sink), key=lambda head: spread(head, "screened")
    )[-1:]
    assert sorted(map(id, silenced)) == sorted([id(by_sink), id(by_loss)])
    for head in silenced:
        for name, each in head["screened"].items():
            assert each["mean"] == pytest.approx(sum(head["prompts"]["zeroed"][name][:2]) / 2, rel=1e-3, abs=1e-7)
    print_heads(told)
    assert "Every head zeroed on 2 prompts per domain" in capsys.readouterr().out


def test_weights_are_read_and_repeated_tokens_are_lost_beside_a_control(record: dict):
    assert record["weights_left_out"] is None
    for head in record["heads"]:
        assert -1 <= head["copying"] <= 1
        assert math.isfinite(head["copying_z"])
        assert (head["composition"]["k"] is None) is (head["layer"] == 0)
    told = record["repeated"]
    assert [each["control"] for each in told["heads"]] == [False, False, True, True]
    scores = {(head["layer"], head["head"]): head["induction"] for head in record["heads"]}
    chosen = [scores[each["layer"], each["head"]] for each in told["heads"] if not each["control"]]
    assert sorted(chosen) == sorted(scores.values())[-2:]
    assert math.isfinite(told["together"]["standard_error"])


def test_patterns_are_kept_to_a_two_hundredth_and_named_by_their_texts(model: LanguageModel, found: LanguageHeads):
    kept = patterns_from_data(json.loads(json.dumps(found.patterns)))
    names = ["sea, prompt 1", "whale, prompt 1", "sea, prompt 2", "repeated tokens, prompt 1"]
    assert [each.name for each in kept] == names
    for each in kept:
        assert each.texts is not None
        assert each.texts[0] == "<|begin|>"
        bridge: Any = model.bridge
        whole = with_patterns(bridge, each).pattern
        torch.testing.assert_close(each.pattern, whole, atol=0.5 / 255 + 1e-6, rtol=0)
    with pytest.raises(ValueError, match="holds no attention patterns"):
        patterns_from_data({"prompts": [{"name": "x", "tokens": [1], "attention": "?"}]})


def test_sinks_are_also_read_on_random_and_on_repeated_tokens_and_bos_is_named(record: dict):
    assert list(record["extreme"]["sink"]) == [
        "sea",
        "whale",
        "random tokens",
        "repeated tokens",
        "one token repeated",
    ]
    assert record["bos"]["token"] == 0
    assert record["sink_tokens"][0]["text"] == "<|begin|>"
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_one_token_repeated_has_no_sink_without_bos_for_its_positions_are_alike(folder: Path):
    without = open_language_model(str(folder), bos="none")
    config = replace(SMALL, n_silenced=0, n_induction=0, weights=False)
    told = heads_of_language_model(without, TEXTS, config).record
    sink = told["extreme"]["sink"]["one token repeated"]
    assert sink["alpha"] == [pytest.approx([sink["uniform_alpha"]] * 4, abs=1e-3)] * 2
    assert told["weights_left_out"] == "not asked for"
    assert "repeated" not in told
    assert told["heads"][0]["copying"] is None


def test_windows_longer_than_the_model_and_memory_too_small_are_refused(model: LanguageModel):
    with pytest.raises(InputError, match="n_tokens must be at most 64, what the model takes; got 65"):
        heads_of_language_model(model, TEXTS, replace(SMALL, n_tokens=65))
    with pytest.raises(InputError, match=r"memory_gb must hold one window of 16 tokens"):
        n_at_once(model.bridge.cfg, replace(SMALL, memory_gb=1e-6))
    assert n_at_once(model.bridge.cfg, replace(SMALL, memory_gb=2.1 * 16 * 16 * (272 + 64) / 1e9)) == 2


def test_the_command_prints_tables_or_one_document(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    text = tmp_path / "poem.txt"
    text.write_text("the whale and the sea " * 80)
    words = ["heads", "--model", str(folder), "--text", str(text), "--no-shipped", "--settings.n-prompts", "2"]
    words += ["--settings.n-tokens", "16", "--settings.n-silenced", "1", "--out", str(tmp_path / "record.json")]
    words += ["--runs", str(tmp_path / "runs")]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "mesascope/heads/1"
    assert record["model"] == str(folder)
    assert math.isfinite(record["heads"][0]["previous_token"])
    assert json.loads((tmp_path / "record.json").read_text())["heads"] == record["heads"]
    (name,) = model_names(tmp_path / "runs")
    ((key, path),) = record_paths(tmp_path / "runs", name).items()
    assert name.startswith(folder.name)
    assert read_json(path) == {key: value for key, value in record.items() if key != "sha256"}
    assert len(kept_patterns(tmp_path / "runs", name, key)) == 3
    monkeypatch.setattr(kept_models, "open_language_model", None)  # it is read, not measured again
    assert main([*words, "--report", str(tmp_path / "report.html")]) == 0
    assert "<h2>Repeated tokens</h2>" in (tmp_path / "report.html").read_text()
    told = capsys.readouterr().out
    assert "begins every row" in told
    assert "Repeated tokens: loss" in told
    assert model_names(tmp_path / "runs") == [name]
    nowhere = str(tmp_path / "nowhere" / "x.json")
    assert main([nowhere if word.endswith("record.json") else word for word in words]) == 2
    assert "out must lie in a folder that is there" in capsys.readouterr().err
    assert main(["heads", "--model", str(folder), "--no-shipped"]) == 2
    assert "heads --model needs a text" in capsys.readouterr().err


def test_a_model_that_leads_out_of_the_runs_folder_is_not_read(tmp_path: Path):
    root = tmp_path / "runs"
    for place in (root / "_models" / "own", tmp_path / "private"):
        RunFolder(place).save_result("heads", "key", {"schema": "mesascope/heads/1"})
    (root / "_models" / "link").symlink_to(tmp_path / "private")
    assert model_names(root) == ["own"]
    assert list(record_paths(root, "own")) == ["key"]
    for read in (lambda: record_paths(root, "link"), lambda: kept_patterns(root, "link", "key")):
        with pytest.raises(InputError, match=r"must lie in .*_models; it leads elsewhere"):
            read()
    with pytest.raises(InputError, match="run name must"):
        record_paths(root, "../../private")
