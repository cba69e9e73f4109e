"""The report of the suite onnx in a headless browser: light, dark, on a phone, without JavaScript."""

import tempfile
from pathlib import Path

from _onnx_models import MODELS, read
from result import Headline, Results, Row, shared_folder


def report() -> Results:
    """The report of a compression in a headless browser: light, dark, on a phone, without JavaScript."""
    from browser import find_browser, open_browser

    from qacomp.api import compress
    from qacomp.options.config import CompressConfig
    from qacomp.report import write_report

    folder, browser_path = shared_folder(), find_browser()
    bar = "0"
    if folder is None or browser_path is None:
        missing = "real checkpoints" if folder is None else "headless browser"
        return [], {"report_console_errors": Headline(None, "errors", bar, f"skipped: no {missing} here")}
    rows = []
    with tempfile.TemporaryDirectory() as scratch, open_browser(browser_path) as browser:
        here = Path(scratch)
        for name, model in MODELS.items():
            container, page = here / f"{name}.qac", here / f"{name}.html"
            source = read(model, folder / "ckpt" / model.file)
            result = compress(source, None, CompressConfig(k=16), container)
            write_report(page, container, result)
            for how in ({}, {"dark": True}, {"width": 360}, {"scripts": False}):
                seen = browser.visit(page, **how)
                results = {"errors": len(seen.errors), "requests": len(seen.requests), "bytes": page.stat().st_size}
                rows.append(Row(f"report_{name}_{len(rows)}", f"report of {model.file}", dict(how), results))
    errors = sum(row.results["errors"] for row in rows)
    note = (
        f"errors and warnings on the console, {len(rows)} visits: {len(MODELS)} reports; light, dark, phone, no scripts"
    )
    return rows, {"report_console_errors": Headline(float(errors), "errors", bar, note)}
