"""Fuzz the reader and every codec with atheris for some minutes, where it is installed (seconds as an argument).

The corpus starts from the golden files. Whatever the bytes are, only FormatError may come out of the reader.
"""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "v1"


def main() -> int:
    """Run both targets one after the other, half of the time each; a finding's input is left in the working folder."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris isn't installed: only the structured mutants were tried (pip install atheris)")
        return 0
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 240
    failed = 0
    for target in ("fuzz_reader.py", "fuzz_codecs.py"):
        with tempfile.TemporaryDirectory() as corpus:
            limits = [f"-max_total_time={seconds // 2}", "-max_len=8192", "-timeout=30", "-rss_limit_mb=4096"]
            done = subprocess.run([sys.executable, str(HERE / target), corpus, str(GOLDEN), *limits])
            failed |= done.returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
