"""A headless Chromium over its debugging pipe: what a page logs, requests and looks like. Needs no package."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE_S = 60


def find_browser() -> str | None:
    """The path of a Chromium (QACOMP_BROWSER, or one on the path), or None."""
    named = os.environ.get("QACOMP_BROWSER")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """One loaded page. errors: console errors and warnings, exceptions, refused loads; requests: every URL asked for.

    overflow: pixels that the page is wider than its window; screenshot: PNG of the whole page.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    text: str = ""
    overflow: int = 0
    screenshot: bytes = b""


class Browser:
    """Talks the DevTools protocol: JSON messages that end in a zero byte, over file descriptors 3 and 4."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read = write, read
        self.number, self.rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def visit(self, page: Path, *, width: int = 1280, dark: bool = False, scripts: bool = True) -> Visit:
        """Load the file `page` in a window of `width` pixels; scripts=False turns JavaScript off for it."""
        with self.tab(width=width, dark=dark) as tab:
            self.call("Emulation.setScriptExecutionDisabled", tab.session, value=not scripts)
            tab.load(page.resolve().as_uri())
            self.call("Emulation.setScriptExecutionDisabled", tab.session, value=False)
            return tab.seen()

    @contextlib.contextmanager
    def tab(self, *, width: int = 1280, dark: bool = False) -> Iterator["Tab"]:
        """Open an empty tab with a window of `width` pixels, and close it at the end."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", session, features=features)
        try:
            yield Tab(self, session)
        finally:
            self.call("Target.closeTarget", targetId=target)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come meanwhile are kept."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait(self, method: str) -> None:
        """Read until the event `method` has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def receive(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], _PATIENCE_S)
            chunk = os.read(self.read, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError("the browser has gone" if ready else f"no answer in {_PATIENCE_S} s")
            self.rest += chunk
        message, _, self.rest = self.rest.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


class Tab:
    """A tab with a page in it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def load(self, address: str) -> None:
        """Go to an address, and wait until its page is loaded."""
        self.browser.call("Page.navigate", self.session, url=address)
        self.browser.wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, of plain JSON types; a promise is awaited."""
        answer = self.browser.call(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str, patience_s: float = _PATIENCE_S) -> Any:
        """Ask until the expression's value is true, and return the value. Raises RuntimeError after `patience_s`."""
        end = time.monotonic() + patience_s
        while not (found := self.evaluate(expression)):
            if time.monotonic() > end:
                raise RuntimeError(f"{expression}: still {found} after {patience_s} s; {self.seen().text[:500]}")
            time.sleep(0.02)
        return found

    def seen(self) -> Visit:
        """Return what the page shows now, and what it logged and asked for since it was loaded."""
        overflow, text = self.evaluate("[document.documentElement.scrollWidth - innerWidth, document.body.innerText]")
        shot = self.browser.call("Page.captureScreenshot", self.session, captureBeyondViewport=True)
        seen = Visit(text=text, overflow=overflow, screenshot=base64.b64decode(shot["data"]))
        for event in self.browser.events:
            _collect(event["method"], event.get("params", {}), seen)
        return seen


def _collect(method: str, said: dict[str, Any], seen: Visit) -> None:
    if method == "Network.requestWillBeSent":
        seen.requests.append(said["request"]["url"])
    elif method == "Runtime.exceptionThrown":
        seen.errors.append(said["exceptionDetails"]["text"])
    elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
        seen.errors.append(str([argument.get("value") for argument in said["args"]]))
    elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
        seen.errors.append(said["entry"]["text"])


@contextlib.contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """Start the browser at `path`, with a profile of its own that goes away with it."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="qacomp-browser-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
        flags += ["--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (in_read, out_write)]  # out of the way of 3 and 4

        def connect() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        process = subprocess.Popen(
            [path, *flags],
            pass_fds=(3, 4),
            preexec_fn=connect,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (in_read, out_write, *ends):
            os.close(end)
        try:
            yield Browser(in_write, out_read)
        finally:
            os.close(in_write)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(out_read)
