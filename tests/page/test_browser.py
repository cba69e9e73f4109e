"""The page in headless Chromium: an answer before 40 % of the bytes, finer ones, a line for bad files."""

import base64
import importlib.util
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from page_model import write_digits
from pages import HOSTILE

from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import open_file
from qacomp.page import PageServer, page_files, serving
from qacomp.page.files import MODEL

ROOT = Path(__file__).resolve().parents[2]
ORT = Path(os.environ.get("QACOMP_ORT", ROOT / "node_modules" / "onnxruntime-web"))
SHARE = 0.4


class GatedServer(PageServer):
    """A server that stops before SHARE of the container until `gate` is set."""

    def __init__(self, container: Path) -> None:
        super().__init__(page_files(container, ORT if ORT.is_dir() else None), 0)
        self.gate = threading.Event()
        self.left = SHARE * container.stat().st_size
        self.waited = False

    def sending(self, place: str, size: int) -> None:
        if place == MODEL:
            self.left -= size
            if self.left < 0 and not self.gate.is_set():
                self.waited = True
                self.gate.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("browser", ROOT / "benchmarks" / "browser.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser"] = module
    spec.loader.exec_module(module)
    path = module.find_browser()
    if path is None:
        pytest.skip("no Chromium here; name one in QACOMP_BROWSER")
    with module.open_browser(path) as opened:
        yield opened


def text_of(tab: Any, name: str) -> str:
    found: str = tab.evaluate(f"document.getElementById('{name}').textContent")
    return found


def give(tab: Any, selector: str, name: str, data: bytes) -> None:
    """Let the user choose a file with these bytes."""
    tab.evaluate(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"), (c) => c.charCodeAt(0));
          const held = new DataTransfer();
          held.items.add(new File([bytes], {name!r}));
          const input = document.querySelector({selector!r});
          input.files = held.files;
          input.dispatchEvent(new Event("change"));
        }})()"""
    )


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.skipif(not ORT.is_dir(), reason="no onnxruntime-web here: npm install onnxruntime-web, or set QACOMP_ORT")
def test_the_page_answers_from_the_first_level_on(
    browser: Any, tmp_path: Path, patience: Callable[[float], float]
) -> None:
    container = write_digits(tmp_path / "digits.qac")
    with GatedServer(container) as server, serving(server) as address, browser.tab() as tab:
        tab.load(address)
        try:
            tab.until("document.body.dataset.answered", patience(60))  # the server has stopped before 40 %
            assert "% of the file had arrived" in (first := text_of(tab, "first-of")) and float(first.split()[0]) < 40
            assert text_of(tab, "levels").endswith("%") and "digit" in text_of(tab, "answer")
            assert "level 1 of 3" in text_of(tab, "run-lead") and tab.evaluate("!document.body.dataset.state")
        finally:
            server.gate.set()
        assert tab.until("document.body.dataset.state", patience(60)) == "complete" and server.waited
        assert text_of(tab, "received") == "100 %" and "2, 16, 256 shared values" in text_of(tab, "layer-rows")

        image = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)
        tab.evaluate("[...document.querySelectorAll('#tabs button')].at(-1).click()")
        tab.until("document.getElementById('input-note').textContent.startsWith('Random values, seed 1')")
        give(tab, "#input input[type=file]", "a.npy", npy(image))
        tab.until("document.getElementById('input-note').textContent.startsWith('From a file')")
        tab.until("!document.getElementById('answer').classList.contains('stale')")
        with open_file(container) as opened:
            session = onnxruntime.InferenceSession(onnx_model(opened).SerializeToString())
        (scores,) = session.run(None, {"image": image})
        shares = np.exp(scores[0] - scores[0].max())
        shares /= shares.sum()
        wanted = f"digit {shares.argmax()}{100 * shares.max():.1f} %"
        assert tab.evaluate("document.querySelector('.class').textContent") == wanted

        give(tab, "#input input[type=file]", "a.npy", npy(image[:, :, 1:]))
        tab.until("document.getElementById('input-note').textContent.includes('the model takes any × 1 × 28 × 28')")
        data = bytearray(container.read_bytes())
        data[len(data) // 2] ^= 1
        give(tab, "#open", "bad.qac", bytes(data))
        tab.until("document.body.dataset.state === 'failed'", patience(60))
        assert text_of(tab, "problem").startswith("bad.qac: ") and "damaged" in text_of(tab, "problem")
        assert tab.evaluate("document.getElementById('shown').hidden") and text_of(tab, "answer") == ""
        seen = tab.seen()
        assert seen.errors == [] and {url.startswith((address, "blob:")) for url in seen.requests} == {True}


def test_hostile_names_are_text_on_a_phone_and_in_the_dark(
    browser: Any, tmp_path: Path, patience: Callable[[float], float]
) -> None:
    name = HOSTILE.replace("\x00", "").replace("/", "") + ".qac"
    path = write_digits(tmp_path / name, {"arch": HOSTILE, "data": HOSTILE, "accuracy": {HOSTILE: 1.0}})
    shots = []
    for dark in (False, True):
        page = PageServer(page_files(path), 0)
        with page as server, serving(server) as address, browser.tab(width=360, dark=dark) as tab:
            tab.load(address)
            tab.until("!document.getElementById('shown').hidden", patience(60))
            assert tab.evaluate("document.querySelectorAll('img, main script, header script').length") == 0
            assert "alert(1)" in text_of(tab, "name") and "\u202e" not in text_of(tab, "name")
            assert tab.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
            seen = tab.seen()
            assert seen.errors == [] and "alert(1)" in seen.text
            shots.append(seen.screenshot)
    assert shots[0] != shots[1]
