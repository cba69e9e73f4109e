"""The program of docs/devices.md is compiled and run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from attacks import GOLDEN

from qacomp.formats.native_library import SOURCES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "devices.md"


def test_the_program_reads_containers(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    (program,) = re.findall(r"```c\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "page.c").write_text(program)
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{SOURCES}")
    made = tmp_path / "page"
    subprocess.run([compiler, *strict, tmp_path / "page.c", SOURCES / "qac.c", "-o", made], check=True)
    told = {}
    for name in ("tiny", "levels", "grids", "rans", "zstd"):
        done = subprocess.run([made, GOLDEN / f"{name}.qac"], capture_output=True, text=True, check=False)
        told[name] = done.returncode, done.stdout.splitlines()
    assert told["tiny"] == (0, ["w: 8 values in 32 bytes", "b: 2 values in 8 bytes"])
    assert [told[name][0] for name in ("levels", "grids", "rans")] == [0, 0, 0]
    assert told["zstd"] == (1, ["stored with zstd: set source.zstd, or write without it"])
