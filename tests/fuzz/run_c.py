"""Fuzz the C decoder with libFuzzer for some minutes, where clang is installed (seconds as an argument).

The corpus starts from the golden files and the vectors. Checksums are made right, or not looked at.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
C = HERE.parents[1] / "formats" / "c"
FLAGS = (
    "-g",
    "-O1",
    "-fsanitize=fuzzer,address,undefined",
    "-DLIBFUZZER",
    "-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION",
)


def main() -> int:
    """Compile the target and run it; a finding's input is left in the working folder."""
    if shutil.which("clang") is None:
        print("clang isn't installed: the C decoder is only tried with mutants (tests/fuzz/test_fuzz_c.py)")
        return 0
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    with tempfile.TemporaryDirectory() as folder:
        target, corpus = str(Path(folder) / "fuzz_c"), Path(folder) / "corpus"
        files = (f"-I{C}", str(HERE / "fuzz_c.c"), str(C / "qac.c"))
        subprocess.run(["clang", *FLAGS, *files, "-o", target], check=True)
        corpus.mkdir()
        seeds = (str(HERE.parent / "golden" / "v1"), str(HERE.parent / "vectors" / "v1"))
        limits = (f"-max_total_time={seconds}", "-max_len=4096", "-timeout=30", "-rss_limit_mb=4096")
        return subprocess.run([target, str(corpus), *seeds, *limits], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
