"""Fuzz the JavaScript and the C reader: DEVICES_FUZZ_INPUTS inputs, as far as they fit into DEVICES_FUZZ_SECONDS."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from result import Headline, Results, Row

ROOT = Path(__file__).resolve().parents[1]
INPUTS = int(os.environ.get("DEVICES_FUZZ_INPUTS", "20000"))
SECONDS = int(os.environ.get("DEVICES_FUZZ_SECONDS", "600"))  # of the clock, for each reader
_TARGET = ROOT / "tests" / "fuzz" / "fuzz_c.c"
_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def javascript() -> Results:
    """Read mutants of the vectors with right checksums; a finding is any other error than a QacError, or a hang."""
    node = shutil.which("node")
    if node is None:
        return [], {"js_fuzz_findings": Headline(None, "findings", "<= 0", "skipped: no node")}
    command = [node, "formats/js/fuzz/fuzz.js", "--runs", str(INPUTS), "--seconds", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    told = json.loads(done.stdout)
    note = (
        f"{told['runs']:,} mutants of the vectors with right checksums, of which {told['read']:,} are read whole; the "
    )
    note += f"bar of the project is 1,000,000; {told['seconds']:.0f} s on a busy machine"
    row = Row("js_fuzz", "mutants read by the JavaScript reader", {"inputs": INPUTS, "seconds": SECONDS}, told)
    return [row], {"js_fuzz_findings": Headline(told["findings"], "findings", "<= 0", note)}


def c() -> Results:
    """libFuzzer under the address and undefined-behaviour sanitizers, from the golden files and the vectors."""
    if shutil.which("clang") is None:
        return [], {"c_fuzz_findings": Headline(None, "findings", "<= 0", "skipped: no clang")}
    sys.path.append(str(_TARGET.parent))
    import run_c

    with tempfile.TemporaryDirectory() as folder:
        target, corpus = str(Path(folder) / "fuzz_c"), Path(folder) / "corpus"
        files = (f"-I{run_c.C}", str(_TARGET), str(run_c.C / "qac.c"))
        subprocess.run(["clang", *run_c.FLAGS, *files, "-o", target], check=True)
        corpus.mkdir()
        seeds = [str(ROOT / "tests" / name / "v1") for name in ("golden", "vectors")]
        limits = [f"-runs={INPUTS}", f"-max_total_time={SECONDS}", "-max_len=4096", "-timeout=60", "-rss_limit_mb=4096"]
        command = [
            target,
            str(corpus),
            *seeds,
            *limits,
            "-seed=1",
            "-print_final_stats=1",
            f"-artifact_prefix={folder}/",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = _UNITS.search(done.stderr)
    if found is None:
        raise RuntimeError(done.stderr[-2000:])
    findings = int(done.returncode != 0)  # libFuzzer ends at the first one
    results = {"inputs": int(found[1]), "findings": findings, "told": done.stderr[-1500:] if findings else ""}
    note = f"{results['inputs']:,} inputs of libFuzzer with ASan and UBSan, checksums made right; the bar is 1,000,000"
    row = Row("c_fuzz", "inputs read by the C reader", {"inputs": INPUTS, "seconds": SECONDS}, results)
    return [row], {"c_fuzz_findings": Headline(findings, "findings", "<= 0", note)}
