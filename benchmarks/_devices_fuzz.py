"""Fuzz the JavaScript and the C reader: DEVICES_FUZZ_INPUTS inputs, as far as they fit into DEVICES_FUZZ_SECONDS.

With DEVICES_FUZZ_STATE=FOLDER a run goes on where the last one of the same source ended, and counts its inputs too.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from result import Headline, Results, Row

ROOT = Path(__file__).resolve().parents[1]
INPUTS = int(os.environ.get("DEVICES_FUZZ_INPUTS", "20000"))
SECONDS = int(os.environ.get("DEVICES_FUZZ_SECONDS", "600"))  # of the clock, for each reader
_STATE = "DEVICES_FUZZ_STATE"
_PIECE = 25_000  # mutants of one node process


def javascript() -> Results:
    """Read mutants of the vectors with right checksums; a finding is any other error than a QacError, or a hang."""
    node = shutil.which("node")
    if node is None:
        return [], {"js_fuzz_findings": Headline(None, "findings", "<= 0", "skipped: no node")}
    with tempfile.TemporaryDirectory() as scratch:
        told = _mutants(node, Path(os.environ.get(_STATE, scratch)) / "js.json")
    note = (
        f"{told['runs']:,} mutants of the vectors with right checksums, of which {told['read']:,} are read whole; the "
    )
    note += f"bar of the project is 1,000,000; {told['seconds']:.0f} s on a busy machine"
    row = Row("js_fuzz", "mutants read by the JavaScript reader", {"inputs": INPUTS}, told)
    return [row], {"js_fuzz_findings": Headline(told["findings"], "findings", "<= 0", note)}


def _mutants(node: str, counts: Path) -> dict[str, Any]:
    """Read mutants in pieces until there are INPUTS of this source, or the time is over; return what is counted."""
    left_out = {"node_modules", "test", "bench"}
    sources = sorted(path for path in (ROOT / "formats" / "js").rglob("*.js") if not left_out & set(path.parts))
    source = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    told: dict[str, Any] = {"source": source, "runs": 0, "read": 0, "seconds": 0.0, "findings": 0, "kept": []}
    if counts.exists() and (before := json.loads(counts.read_text()))["source"] == source:
        told = before
    end = time.monotonic() + SECONDS
    while told["runs"] < INPUTS and not told["findings"] and (left := end - time.monotonic()) > 0:
        runs = str(min(_PIECE, INPUTS - told["runs"]))
        command = [
            node,
            "formats/js/fuzz/fuzz.js",
            "--first",
            str(told["runs"]),
            "--runs",
            runs,
            "--seconds",
            str(left),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise RuntimeError(done.stderr)
        piece = json.loads(done.stdout)
        told |= {key: told[key] + piece[key] for key in ("runs", "read", "seconds", "findings", "kept")}
        counts.parent.mkdir(parents=True, exist_ok=True)
        counts.write_text(json.dumps(told))
    return told


def c() -> Results:
    """libFuzzer under the address and undefined-behaviour sanitizers, from the seeds, golden files and vectors."""
    if shutil.which("clang") is None:
        return [], {"c_fuzz_findings": Headline(None, "findings", "<= 0", "skipped: no clang")}
    sys.path.append(str(ROOT / "tests" / "fuzz"))
    import run_c

    with tempfile.TemporaryDirectory() as scratch:
        told = run_c.fuzz(INPUTS, SECONDS, Path(os.environ.get(_STATE, scratch)) / "c")
    note = f"{told['inputs']:,} inputs of libFuzzer with ASan and UBSan, checksums made right; the bar is 1,000,000; "
    note += f"{told['seconds']:.0f} s on a busy machine"
    row = Row("c_fuzz", "inputs read by the C reader", {"inputs": INPUTS}, told)
    return [row], {"c_fuzz_findings": Headline(told["findings"], "findings", "<= 0", note)}
