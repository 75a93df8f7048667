"""Computations started from a page: one process each, failures told."""

import sys

import pytest

from dashboards.jobs import Jobs, agree_command
from dashboards.views import agreement, picking
from tests.dashboards.test_views import _text
from workbench.errors import InputError


def _python(code: str):
    return lambda path, step: [sys.executable, "-c", code, path, str(step)]


def _finish(job) -> None:
    assert job.done.wait(20)


def test_the_command_is_the_command_lines_own():
    assert agree_command("/runs/a", 4)[1:] == ["-m", "workbench.cli", "agree", "/runs/a", "--step", "4", "--json"]


def test_a_failed_job_tells_its_last_line_on_the_page(store):
    code = "import sys; sys.stderr.write('noise\\nstep must be a checkpoint; got 4.\\n'); sys.exit(2)"
    jobs = Jobs(_python(code))
    _finish(jobs.start(store.folder("plain"), 4))
    message, loading, *_, idle, _ = picking.settle(store, jobs, agreement.PICKING, "?run=plain", 1, None, None)
    assert "The last try failed: step must be a checkpoint; got 4." in _text(message)
    assert (loading, idle) == (False, True)


def test_a_job_that_dies_silently_is_told_too(store):
    jobs = Jobs(_python("import os; os._exit(9)"))
    job = jobs.start(store.folder("plain"), 4)
    _finish(job)
    assert "status 9" in job.error


def test_a_command_that_cannot_start_is_told(store):
    jobs = Jobs(lambda path, step: ["/no/such/program", path, str(step)])
    job = jobs.start(store.folder("plain"), 4)
    _finish(job)
    assert "could not start" in job.error


def test_a_running_job_is_not_started_twice_and_there_are_at_most_two(store, root):
    jobs = Jobs(_python("import sys; sys.stdin.read(); import time; time.sleep(1.5)"))
    first = jobs.start(store.folder("plain"), 4)
    assert jobs.start(store.folder("plain"), 4) is first
    message, loading, *_, idle, _ = picking.settle(store, jobs, agreement.PICKING, "?run=plain", 1, None, None)
    assert "Computing" in _text(message)
    assert (loading, idle) == (True, False)
    second = jobs.start(store.folder("plain"), 0)
    with pytest.raises(InputError, match="at most 2 computations"):
        jobs.start(store.folder("seen"), 0)
    _finish(first)
    _finish(second)
    assert first.error is None


def test_a_checkpoint_that_is_not_there_starts_nothing(store):
    with pytest.raises(InputError, match="step must be a checkpoint"):
        Jobs(_python("")).start(store.folder("plain"), 3)
