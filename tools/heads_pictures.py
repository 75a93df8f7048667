"""Pictures of docs/smollm2.md: figures of the page of heads on a language model, as a browser shows them.

python tools/heads_pictures.py runs docs/images
"""

import os
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from dashboards.app import create_app
from dashboards.store import RunStore

HEAD = "L23H6"
PICTURES = {
    "smollm2-induction": ("heads-map", "induction"),
    "smollm2-contrast": ("heads-contrast", "induction"),
    "smollm2-extreme": ("heads-extreme", "induction"),
}
"""File: the figure on the page, and the score that the page shows."""


def main(runs: Path, folder: Path, model: str = "smollm2-135m") -> None:
    """Serve the runs folder on a free port, open the page, write one image per figure."""
    store = RunStore(runs)
    name = next(each for each in store.model_names() if model in each.lower())
    server = make_server("127.0.0.1", 0, create_app(store).server, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1180, "height": 1080})
        for file, (figure, score) in PICTURES.items():
            page.goto(f"http://127.0.0.1:{server.server_port}/heads?model={name}&head={HEAD}&score={score}")
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(2500)
            page.locator(f"#{figure}").screenshot(path=folder / f"{file}.png")
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
