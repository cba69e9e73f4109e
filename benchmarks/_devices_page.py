"""The page in headless Chromium on a slow line: how much of the file it needs for its first answer."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from browser import find_browser, open_browser
from result import ROOT, Headline, Results, Row, median

from qacomp.page import PageServer, page_files, serving
from qacomp.page.files import MODEL, PageFiles

_BAR = "<= 0.4"
_RATE = 64_000  # bytes a second: about half a megabit, a poor mobile line
_LEVELS = "2,4,16"


class SlowServer(PageServer):
    """A server whose container arrives at _RATE; sent: how many bytes of it have been sent, at most."""

    def __init__(self, page: PageFiles) -> None:
        super().__init__(page, 0)
        self.sent = 0

    def sending(self, place: str, size: int) -> None:
        """Wait before a piece of the container for as long as a slow line would take."""
        if place == MODEL:
            time.sleep(size / _RATE)
            self.sent += size


def runtime_folder() -> Path | None:
    """The npm package onnxruntime-web: QACOMP_ORT, or in node_modules of the repository; None without it."""
    folder = Path(os.environ.get("QACOMP_ORT", ROOT / "node_modules" / "onnxruntime-web"))
    return folder if folder.is_dir() else None


def visit(page: PageFiles, browser: Any) -> dict[str, Any]:
    """Load the page once: the shares sent and shown at the first answer, its seconds, and every level's answer."""
    with SlowServer(page) as server, serving(server) as address, browser.tab() as tab:
        tab.load(address)
        tab.until("document.body.dataset.answered || document.body.dataset.state", 120)
        sent = server.sent
        shown = [tab.evaluate(f"document.getElementById('{name}').textContent") for name in ("first", "first-of")]
        tab.until("document.body.dataset.state", 240)
        rows = tab.evaluate("[...document.querySelectorAll('#levels tbody tr')].map((row) => row.innerText)")
        errors = tab.seen().errors
    if errors:
        raise RuntimeError(f"the page logged {errors}")
    return {"sent": sent, "shown": shown, "levels": rows}


def train(folder: Path) -> Path:
    """A LeNet-5 of digits with three levels."""
    run = (sys.executable, "-m", "qacomp")
    subprocess.run([*run, "train", "--arch", "lenet5", "--data", "digits", "-o", str(folder / "a.pt")], check=True)
    made = folder / "lenet5.qac"
    levels = ("--levels", _LEVELS, "--epochs", "1", "--tune-epochs", "1")
    subprocess.run([*run, "compress", str(folder / "a.pt"), *levels, "-o", str(made)], check=True)
    return made


def page(size: str) -> Results:
    """LeNet-5 of digits with three levels, at 64 kB/s; QACOMP_PAGE_MODEL names a container that is there already."""
    path, runtime = find_browser(), runtime_folder()
    if path is None or runtime is None:
        note = "skipped: no Chromium" if path is None else "skipped: no onnxruntime-web (npm install onnxruntime-web)"
        return [], {"first_answer_share": Headline(None, "of the file", _BAR, note)}
    with tempfile.TemporaryDirectory() as folder:
        named = os.environ.get("QACOMP_PAGE_MODEL")
        container = Path(named) if named else train(Path(folder))
        files, total = page_files(container, runtime), container.stat().st_size
        with open_browser(path) as browser:
            visits = [visit(files, browser) for _ in range(3 if size == "small" else 5)]
    version = json.loads((runtime / "package.json").read_text())["version"]
    shares = [seen["sent"] / total for seen in visits]
    note = f"LeNet-5 of digits, levels {_LEVELS}, {total:,} bytes at {_RATE // 1000} kB/s, as the server sent them; "
    note += f"headless Chromium, onnxruntime-web {version} loaded before; {len(visits)} visits"
    results = {"bytes": total, "shares": shares, "visits": visits}
    row = Row("page", "the page on a slow line", {"rate": _RATE, "levels": _LEVELS}, results)
    return [row], {"first_answer_share": Headline(median(shares), "of the file", _BAR, note)}
