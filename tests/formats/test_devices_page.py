"""The programs of docs/devices.md are compiled and run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from attacks import GOLDEN

from qacomp.formats.native_installed import SOURCES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "devices.md"
DELTAS = GOLDEN.parents[1] / "vectors" / "deltas_v1"


def compiled(number: int, source: str, folder: Path) -> Path:
    """A program of the page, compiled with a source of formats/c."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    programs = re.findall(r"```c\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(programs) == 2
    (folder / "page.c").write_text(programs[number])
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{SOURCES}")
    made = folder / "page"
    subprocess.run([compiler, *strict, folder / "page.c", SOURCES / source, "-o", made], check=True)
    return made


def test_the_program_reads_containers(tmp_path: Path) -> None:
    made = compiled(0, "qac.c", tmp_path)
    told = {}
    for name in ("tiny", "levels", "grids", "rans", "zstd"):
        done = subprocess.run([made, GOLDEN / f"{name}.qac"], capture_output=True, text=True, check=False)
        told[name] = done.returncode, done.stdout.splitlines()
    assert told["tiny"] == (0, ["w: 8 values in 32 bytes", "b: 2 values in 8 bytes"])
    assert [told[name][0] for name in ("levels", "grids", "rans")] == [0, 0, 0]
    assert told["zstd"] == (1, ["stored with zstd: set source.zstd"])


def test_the_program_applies_deltas(tmp_path: Path) -> None:
    made, new = compiled(1, "qac_delta.c", tmp_path), tmp_path / "new.qac"
    for name in ("tuned_context", "refined_rans", "chunks"):
        files = (DELTAS / f"{name}.old.qac", DELTAS / f"{name}.qacd", new)
        done = subprocess.run([made, *files], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "applied\n")
        assert new.read_bytes() == (DELTAS / f"{name}.new.qac").read_bytes()
        done = subprocess.run([made, new, files[1], tmp_path / "none"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "already what the delta makes: nothing to apply\n")
        assert not (tmp_path / "none").exists()
