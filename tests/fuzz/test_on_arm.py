"""The C code as a Cortex-M4 runs it, with pointers of 32 bits: the vectors are read and applied under qemu-arm."""

import shutil
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from arm import arm_compiler

from qacomp.formats import open_file
from qacomp.formats.native_installed import SOURCES

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
NO_ZSTD = 12
FLAGS = ("-Os", "-fomit-frame-pointer", "-nostartfiles", "-Wall", "-Wextra", "-Werror")


def lines(program: str, source: str, inputs: Sequence[bytes], folder: Path) -> list[list[str]]:
    """Return what a program tells of each input, word by word."""
    emulator = shutil.which("qemu-arm")
    if emulator is None:
        pytest.skip("no qemu-arm (qemu-user)")
    files = [HERE / program, HERE / "on_arm.c", SOURCES / source]
    subprocess.run([*arm_compiler(), *FLAGS, f"-I{SOURCES}", *files, "-o", folder / "program"], check=True)
    (folder / "packed").write_bytes(b"".join(struct.pack("<I", len(data)) + data for data in inputs))
    command = [emulator, str(folder / "program"), str(folder / "packed")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == len(inputs)
    return found


def test_a_cortex_m4_reads_the_vectors(tmp_path: Path) -> None:
    paths = sorted((VECTORS / "v1").glob("*.qac"))
    read = 0
    for path, told in zip(paths, lines("fuzz_c.c", "qac.c", [p.read_bytes() for p in paths], tmp_path), strict=True):
        if any(int(part.split(":")[0]) == NO_ZSTD for part in told):
            continue
        with open_file(path) as container:
            wanted = [f"0:{zlib.crc32(container.tensor(name).tobytes()):08x}" for name in container.names]
        assert told == ["0", *wanted, "0"], path.name
        read += 1
    assert read > len(paths) * 3 // 4


def test_a_cortex_m4_applies_the_deltas(tmp_path: Path) -> None:
    """Into a second region, in memory and by functions, and in place."""
    updates = sorted(path for path in (VECTORS / "deltas_v1").glob("*.qacd") if path.stem.isidentifier())
    inputs = []
    for path in updates:
        old = path.with_suffix(".old.qac").read_bytes()
        inputs.append(struct.pack("<I", len(old)) + old + path.read_bytes())
    for path, told in zip(updates, lines("fuzz_delta.c", "qac_delta.c", inputs, tmp_path), strict=True):
        new = path.with_suffix(".new.qac").read_bytes()
        ways = [f"0:{zlib.crc32(new):08x}:{len(new)}"] * 3
        assert told[:3] == ways or told[0].startswith(f"{NO_ZSTD}:"), path.name
