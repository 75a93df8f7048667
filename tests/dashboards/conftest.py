"""Run folders made by hand, and a browser on a served app."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import werkzeug.serving

from dashboards.app import create_app
from dashboards.jobs import Jobs
from dashboards.store import RunStore
from tests.dashboards.made import agreement_record, make_run

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A runs folder with two runs: ``seen`` has an agreement record at step 4, ``plain`` has none."""
    runs = tmp_path / "runs"
    seen = make_run(runs, "seen", steps=(0, 4))
    seen.save_result("agreement", "k4", agreement_record("seen", 4))
    make_run(runs, "plain", steps=(0, 4))
    return runs


@pytest.fixture
def store(root: Path) -> RunStore:
    """The store on that folder."""
    return RunStore(root)


@pytest.fixture
def record() -> dict[str, Any]:
    """A small agreement record."""
    return agreement_record("seen", 4)


@pytest.fixture
def serve_app() -> Iterator[Callable[..., str]]:
    """Serves an app on a free port and gives its address."""
    running = []

    def start(store: RunStore, jobs: Jobs | None = None) -> str:
        server = werkzeug.serving.make_server("127.0.0.1", 0, create_app(store, jobs=jobs).server, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The machine's own browser, if it has one; else the one that Playwright brings."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    quiet = ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", *quiet]
    own = {"executable_path": found} if found else {}
    return {**browser_type_launch_args, **own, "args": arguments}


@pytest.fixture(scope="session")
def a_browser(playwright: Any, browser_type_launch_args: dict[str, Any]) -> None:
    """Skips where no browser can be had."""
    path = browser_type_launch_args.get("executable_path") or playwright.chromium.executable_path
    if not Path(path).exists():
        pytest.skip(f"no browser: neither {', '.join(_BROWSERS)} nor Playwright's own at {path}; set CHROMIUM")


class Watch:
    """What a page did that it should not have."""

    def __init__(self, page: Any, origin: str) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        allowed = (origin, "data:", "blob:")
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("console", lambda m: self.problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("request", lambda r: None if r.url.startswith(allowed) else self.problems.append(f"left: {r.url}"))


@pytest.fixture
def open_page(a_browser: None, page: Any, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str], Any]]:
    """Opens an address; fails at the end on any error in page or callback, dialog or request off its origin."""
    watches = []

    def start(url: str, on: Any = None) -> Any:
        target = on or page
        if not any(known is target for known, _ in watches):
            origin = "file:" if url.startswith("file:") else "/".join(url.split("/")[:3])
            watches.append((target, Watch(target, origin)))
        target.goto(url)
        return target

    yield start
    assert [problem for _, watch in watches for problem in watch.problems] == []
    assert [told.getMessage() for told in caplog.records if told.levelname == "ERROR"] == []
