"""RunStore: every folder becomes a row, no name leads elsewhere, what changed is read again."""

import json
import os
import time
from pathlib import Path

import pytest

from dashboards.planted import planted_confusion
from dashboards.run_table import task_words
from dashboards.store import RunStore
from tests.dashboards.made import CONFIG, agreement_record, make_run
from workbench.analyses import AGREEMENT_CODE
from workbench.errors import InputError
from workbench.runs import RunFolder


def _row(root: Path, name: str):
    return next(row for row in RunStore(root).rows() if row.name == name)


def test_a_run_is_told_in_its_row(store):
    row = store.row("seen")
    assert (row.state, row.step, row.n_steps, row.error) == ("finished", 4, 4, None)
    assert row.task == "Linear regression, d = 2, 4 examples"
    assert row.loss == pytest.approx(0.4)
    assert row.excess == pytest.approx(-0.1)


def test_a_missing_root_has_no_rows(tmp_path):
    assert RunStore(tmp_path / "nowhere").rows() == []


def test_a_running_run_whose_process_is_gone_is_killed(root):
    folder = make_run(root, "gone")
    path = folder.path / "status.json"
    data = json.loads(path.read_text())
    from workbench.files import write_json

    write_json(path, {k: v for k, v in {**data, "state": "running", "pid_started": 1.0}.items() if k != "sha256"})
    assert _row(root, "gone").state == "killed"


def _no_config(folder: RunFolder) -> None:
    (folder.path / "config.json").unlink()


def _half_config(folder: RunFolder) -> None:
    path = folder.path / "config.json"
    path.write_bytes(path.read_bytes()[:40])


def _flipped_status(folder: RunFolder) -> None:
    path = folder.path / "status.json"
    path.write_bytes(path.read_bytes().replace(b'"step": 4', b'"step": 5'))


def _half_status(folder: RunFolder) -> None:
    (folder.path / "status.json").write_text('{"state": "fin')


def _no_env(folder: RunFolder) -> None:
    (folder.path / "env.json").unlink()


def _binary_config(folder: RunFolder) -> None:
    (folder.path / "config.json").write_bytes(os.urandom(200))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_no_config, "no run at"),
        (_half_config, "truncated or damaged"),
        (_binary_config, "truncated or damaged"),
        (_flipped_status, "checksum"),
        (_half_status, "truncated or damaged"),
        (_no_env, "readable"),
    ],
)
def test_a_damaged_folder_is_a_row_with_a_sentence(root, damage, told):
    damage(RunFolder(root / "plain"))
    row = _row(root, "plain")
    assert row.state == "damaged"
    assert row.error is not None
    assert told in row.error
    assert _row(root, "seen").error is None


def test_a_newer_schema_is_a_row_that_says_so(root):
    make_run(root, "newer", config={**CONFIG, "schema": "mesascope/run/2"})
    row = _row(root, "newer")
    assert row.state == "damaged"
    assert "Update mesascope" in (row.error or "")


def test_a_config_of_odd_shape_is_a_row(root):
    make_run(root, "odd", config={"schema": "mesascope/run/1", "task": [1, 2]})
    assert _row(root, "odd").task == "unknown task"


@pytest.mark.parametrize("text", ["", "{", '{"step": 1', "\x00\x01\n\x02\n", "[1]\n", '{"step": NaN, "loss": NaN}\n'])
def test_torn_or_odd_metrics_leave_the_row_alone(root, text):
    (root / "plain" / "metrics.jsonl").write_text(text)
    row = _row(root, "plain")
    assert row.state == "finished"
    assert row.loss is None


def test_a_torn_last_line_of_metrics_is_dropped(store, root):
    with open(root / "seen" / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "lo')
    assert [line["step"] for line in store.metrics("seen")] == [1, 2, 3, 4]
    assert store.row("seen").loss == pytest.approx(0.4)


HOSTILE = [
    "../x",
    "/etc/passwd",
    "a\0b",
    "%2e%2e/x",
    "%2e%2e",
    "..\\x",
    "",
    ".",
    "..",
    "ok\n",
    "x" * 5000,
    "-rf",
    "a/b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_no_names_are_refused(store, name):
    for read in (store.folder, store.row, store.config, store.metrics, store.checkpoints, store.agreements):
        with pytest.raises(InputError, match=r"run name must|no run at"):
            read(name)
    assert not store.has_agreement(name)


def test_a_link_out_of_the_root_is_a_row_that_is_not_followed(root, tmp_path):
    outside = make_run(tmp_path / "elsewhere", "outside")
    (root / "link").symlink_to(outside.path)
    assert "leads elsewhere" in (_row(root, "link").error or "")
    with pytest.raises(InputError, match="leads elsewhere"):
        RunStore(root).metrics("link")


def test_other_folders_and_files_are_no_runs(root):
    (root / "notes").mkdir()
    (root / "README.md").write_text("hello")
    (root / ".tmp-1-half").mkdir()
    assert RunStore(root).names() == ["plain", "seen"]


def test_changes_are_seen_and_only_they_are_new_versions(store, root):
    before = {row.name: row.version for row in store.rows()}
    assert {row.name: row.version for row in store.rows()} == before
    RunFolder(root / "plain").append_metrics({"step": 5, "loss": 0.125})
    after = {row.name: row for row in store.rows()}
    assert after["plain"].loss == 0.125
    assert after["plain"].version > max(before.values())
    assert after["seen"].version == before["seen"]
    assert [line["step"] for line in store.metrics("plain")][-1] == 5


def test_a_deleted_run_leaves_the_table(store, root):
    import shutil

    store.rows()
    shutil.rmtree(root / "plain")
    assert [row.name for row in store.rows()] == ["seen"]
    with pytest.raises(InputError, match="no run at"):
        store.row("plain")


def test_agreement_records_come_by_checkpoint_and_the_newest_wins(store, root):
    folder = RunFolder(root / "seen")
    folder.save_result("agreement", "k0", agreement_record("seen", 0))
    later = {**agreement_record("seen", 4), "n_prompts": 99}
    folder.save_result("agreement", "k5", later)
    future = time.time_ns() + 10**9
    os.utime(folder.path / "results" / "agreement" / "k5.json", ns=(future, future))
    found = store.agreements("seen")
    assert list(found.records) == [0, 4]
    assert found.records[4]["n_prompts"] == 99
    assert found.faults == ()
    assert store.has_agreement("seen")
    assert not store.has_agreement("plain")


def test_damaged_and_newer_records_are_told_and_the_others_stay(store, root):
    folder = RunFolder(root / "seen")
    folder.save_result("agreement", "new", {**agreement_record("seen", 8), "schema": "mesascope/agreement/2"})
    folder.save_result("agreement", "odd", {"schema": "mesascope/agreement/1"})
    (folder.path / "results" / "agreement" / "bad.json").write_text('{"x": 1}')
    found = store.agreements("seen")
    assert list(found.records) == [4]
    assert len(found.faults) == 3
    assert all(any(word in fault for fault in found.faults) for word in ("Update mesascope", "checksum", "checkpoint"))


def test_a_checkpoint_without_manifest_is_not_there(store, root):
    (root / "plain" / "checkpoints" / "step-00000004" / "MANIFEST.json").unlink()
    assert store.checkpoints("plain") == [0]


def test_many_runs_are_listed_within_the_budget_and_read_on_later(root):
    for i in range(30):
        make_run(root, f"more-{i}")
    store = RunStore(root)
    first = store.rows(budget_s=-1.0)
    assert {row.state for row in first} == {"unread"}
    assert len(first) == 32
    assert {row.state for row in store.rows()} == {"finished"}


def test_task_words_take_anything():
    assert task_words(None) == "unknown task"
    assert task_words({"name": ["x"]}).startswith("unknown task")
    assert "<script>" in task_words({"name": "<script>alert(1)</script>"})


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", "{}", '{"held_out": {"truths": ["gd"], "verdicts": ["gd"], "counts": [[1, 2]]}}'],
)
def test_no_or_a_broken_benchmark_of_planted_models_is_none(tmp_path, content):
    path = tmp_path / "planted.json"
    if content is not None:
        path.write_text(content)
    assert planted_confusion(path) is None


def test_the_benchmark_of_planted_models_is_read_as_it_is(tmp_path):
    found = {"truths": ["gd", None], "verdicts": ["gd"], "counts": [[3], [0]]}
    path = tmp_path / "planted.json"
    path.write_text(json.dumps({"held_out": found, "more": 1}))
    assert planted_confusion(path) == {**found, "former": True}, "it does not say by which rules"
    path.write_text(json.dumps({"held_out": found, "code": AGREEMENT_CODE}))
    assert planted_confusion(path) == {**found, "former": False}
    assert planted_confusion(path, part="constructed") is None
    path.write_text(json.dumps({"constructed": found, "code": AGREEMENT_CODE}))
    assert planted_confusion(path, part="constructed") == {**found, "former": False}
