"""The README's picture: the agreement page on a run, as a browser shows it.

python tools/picture.py runs/demo docs/images
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


def main(run: Path, folder: Path) -> None:
    """Serve the run's folder on a free port, open the page, write the image."""
    server = make_server("127.0.0.1", 0, create_app(RunStore(run.parent)).server, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 1080})
        page.goto(f"http://127.0.0.1:{server.server_port}/agreement?run={run.name}")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / "agreement.png")
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
