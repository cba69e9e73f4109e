"""Fuzz the C decoder with libFuzzer: python tests/fuzz/run_c.py [--deltas] [--inputs N] [--seconds S] [--state FOLDER].

Needs clang. The corpus starts from the seeds, the golden files and the vectors, with headers stored raw, so that a
changed byte meets the decoder and not a checksum or lzma; with --deltas from the vectors of deltas, of which C applies
any to any base. A state folder keeps the corpus and the number of inputs of
this very source; a run with it goes on where the last one ended.
"""

import argparse
import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
C = ROOT / "formats" / "c"
FLAGS = (
    "-g",
    "-O2",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-sanitize-coverage=trace-cmp",  # noting every comparison takes three times as long as reading
    "-DLIBFUZZER",
    "-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION",
)
LIMITS = (
    "-timeout=600",  # of the clock, and machines may be busy
    "-rss_limit_mb=2048",
    "-malloc_limit_mb=256",
    "-entropic=0",
    "-print_final_stats=1",
)
PIECE = 50_000  # inputs of one process; a run that is broken off loses at most one piece
_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_READ_AGAIN = re.compile(r"#(\d+)\s+INITED")  # the corpus, which each process reads first, isn't counted again


def write_corpus(folder: Path) -> None:
    """Write the seeds, golden files and vectors, each with its header stored raw."""
    sys.path.insert(0, str(HERE))
    from mutator import assemble, parse
    from seeds import build

    from qacomp.formats.header import write_header

    files = {f"seed_{name}": data for name, data in build().items()}
    for kind in ("golden", "vectors"):
        files |= {f"{kind}_{path.stem}": path.read_bytes() for path in (HERE.parent / kind / "v1").glob("*.qac")}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        parts = parse(data)
        sections, raw, flags = parts.header.sections, write_header(parts.header), parts.header.flags
        (folder / name).write_bytes(assemble(parts.version, raw, flags, sections, parts.payloads))


def write_deltas(folder: Path) -> None:
    """Write the vectors of deltas as inputs: bytes of the base, base, delta."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (HERE.parent / "vectors" / "deltas_v1").glob("*.qacd"):
        base = (path.parent / f"{path.name.split('.')[0]}.old.qac").read_bytes()
        (folder / path.name).write_bytes(struct.pack("<I", len(base)) + base + path.read_bytes())


@dataclass(frozen=True)
class Target:
    """Hold what is fuzzed. headers, sources: what is compiled; longest: bytes of an input; write: makes the corpus."""

    headers: tuple[Path, ...]
    sources: tuple[Path, ...]
    longest: int
    write: Callable[[Path], None]


READER = Target((C / "qac.h",), (HERE / "fuzz_c.c", C / "qac.c"), 3072, write_corpus)
DELTAS = Target(
    (C / "qac.h", C / "qac.c", C / "qac_delta.h"), (HERE / "fuzz_delta.c", C / "qac_delta.c"), 16384, write_deltas
)


def fuzz(inputs: int, seconds: float, state: Path, what: Target = READER) -> dict[str, Any]:
    """Run until so many inputs of this source were tried in this state folder; return what is counted so far."""
    state.mkdir(parents=True, exist_ok=True)
    source = hashlib.sha256(b"".join(path.read_bytes() for path in (*what.headers, *what.sources))).hexdigest()
    counts, corpus, target = state / "counts.json", state / "corpus", state / f"fuzz_c_{source[:12]}"
    told: dict[str, Any] = {"source": source, "inputs": 0, "findings": 0, "seconds": 0.0, "told": ""}
    if counts.exists() and (before := json.loads(counts.read_text()))["source"] == source:
        told = before
    if not target.exists():
        subprocess.run(["clang", *FLAGS, f"-I{C}", *map(str, what.sources), "-o", target], check=True)
    what.write(corpus)
    end = time.monotonic() + seconds
    while told["inputs"] < inputs and not told["findings"] and (left := int(end - time.monotonic())) > 0:
        begun, seed = time.monotonic(), told["inputs"] // 1000 + 1
        # -runs counts the reading of the corpus too, and an empty input before it
        more = min(PIECE, inputs - told["inputs"]) + (sum(1 for _ in corpus.iterdir()) + 1 if told["inputs"] else 0)
        runs = (f"-runs={more}", f"-max_total_time={left}", f"-seed={seed}")
        command = [str(target), str(corpus), *LIMITS, f"-max_len={what.longest}", *runs, f"-artifact_prefix={state}/"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _UNITS.search(done.stderr)
        if found is None:
            raise RuntimeError(done.stderr[-2000:])
        again = _READ_AGAIN.search(done.stderr)
        told["inputs"] += int(found[1]) - (int(again[1]) if again and told["inputs"] else 0)
        told["seconds"] += time.monotonic() - begun
        if done.returncode:  # libFuzzer ends at the first finding, and writes its input into the state folder
            told |= {"findings": 1, "told": done.stderr[-3000:]}
        counts.write_text(json.dumps(told, indent=1))
    return told


def main() -> int:
    """Fuzz as the arguments say and print the counts; exit code 1 with a finding."""
    parser = argparse.ArgumentParser(description="Fuzz the C decoder with libFuzzer.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs to try, those of earlier runs included")
    parser.add_argument("--seconds", type=float, default=120, help="of the clock, at most")
    parser.add_argument("--state", type=Path, help="folder that keeps corpus and counts (default: none is kept)")
    parser.add_argument("--deltas", action="store_true", help="fuzz what applies deltas instead of the reader")
    given = parser.parse_args()
    if shutil.which("clang") is None:
        print("clang isn't installed: the C decoder is only tried with mutants (tests/fuzz/test_fuzz_c.py)")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        told = fuzz(given.inputs, given.seconds, given.state or Path(scratch), DELTAS if given.deltas else READER)
    print(told["told"] or json.dumps(told))
    return int(told["findings"] > 0)


if __name__ == "__main__":
    sys.exit(main())
