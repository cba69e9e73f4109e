"""The C decoder under the sanitizers: mutants, golden files and vectors, read in every way, with numpy's outcome."""

import importlib.util
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
from arm import arm_compiler

from qacomp.formats import FormatError, LimitExceededError, open_file
from qacomp.formats.codecs.dictionary import DICTIONARY
from qacomp.formats.native_installed import SOURCES

HERE = Path(__file__).parent
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
ERRORS = (
    "",
    "NotAContainer",
    "UnsupportedVersion",
    "TruncatedFile",
    "ChecksumMismatch",
    "Header",
    "LimitExceeded",
    "Codec",
)
LIMIT, NO_ZSTD = "LimitExceededError", "12"
MUTANTS = 500


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fuzz_c.c under the sanitizers of addresses and of undefined behaviour."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no gcc or clang")
    path = tmp_path_factory.mktemp("fuzz") / "fuzz_c"
    sanitized = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    files = (f"-I{SOURCES}", str(HERE / "fuzz_c.c"), str(SOURCES / "qac.c"), "-o", str(path))
    if subprocess.run([compiler, *STRICT, *sanitized, *files], check=False, capture_output=True).returncode:
        subprocess.run([compiler, *STRICT, *files], check=True)  # raises for what isn't for lack of sanitizers
        pytest.skip(f"{compiler} has no sanitizers here")
    return path


def outcome_of_numpy(data: bytes) -> list[str]:
    """The error of opening, else for each tensor its error or the CRC-32 of its values."""
    try:
        container = open_file(data)
    except FormatError as error:
        return [type(error).__name__]
    with container:
        container._sections._leaves = None  # the C decoder checks no leaf hashes
        found = [""]
        for name in container.names[:64]:
            try:
                found.append(f"{zlib.crc32(container.tensor(name).tobytes()):08x}")
            except FormatError as error:
                found.append(type(error).__name__)
        return found


def outcome_of_c(line: str) -> list[str]:
    """The same out of a line of the program."""
    first, *others = line.split()
    found = [_named(first)]
    for part in others:
        if ":" in part:
            error, crc = part.split(":")
            found.append(crc if error == "0" else _named(error))
    return found


def _named(error: str) -> str:
    number = int(error)
    return error if number >= len(ERRORS) else ERRORS[number] and f"{ERRORS[number]}Error"


def differs(ours: str, theirs: str) -> bool:
    """Whether two outcomes contradict each other: a reader may have its own limits, and C has no zstd here."""
    return ours != theirs and LIMIT not in (ours, theirs) and theirs != NO_ZSTD


def test_c_and_numpy_agree_on_mutants(program: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(HERE))
    mutator = module("mutator").Mutator(module("seeds").build())
    files = [mutator.mutant(7, number)[2] for number in range(MUTANTS)]
    folders = (HERE.parent / "golden" / "v1", HERE.parent / "vectors" / "v1")
    files += [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.qac"))]
    packed = tmp_path / "packed"
    packed.write_bytes(b"".join(struct.pack("<I", len(data)) + data for data in files))
    done = subprocess.run([program, packed], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    read = 0
    for number, (data, line) in enumerate(zip(files, lines, strict=True)):
        ours, theirs = outcome_of_numpy(data), outcome_of_c(line)
        if LIMIT in (ours[0], theirs[0]) or NO_ZSTD in theirs[0]:
            continue
        assert len(ours) == len(theirs), number
        assert not any(differs(a, b) for a, b in zip(ours, theirs, strict=True)), (number, ours, theirs)
        read += len(ours) > 1
    assert read > len(files) // 5
    assert LimitExceededError.__name__ == LIMIT


@pytest.mark.parametrize(
    "more",
    [(), ("-DQAC_NO_LZMA", "-DQAC_NO_DEFLATE", "-DQAC_NO_TRELLIS", "-DQAC_NO_MIXING"), ("-DQAC_CRC_TABLES=8",)],
    ids=str,
)
def test_clang_finds_nothing_to_warn_of(more: tuple[str, ...]) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang")
    subprocess.run(["clang", *STRICT, *more, "-fsyntax-only", SOURCES / "qac_root.c"], check=True)  # it includes qac.c


@pytest.mark.parametrize(("more", "most"), [((), 28_672), (("-DQAC_NO_MIXING",), 24_576)])
def test_the_code_fits_a_small_device(tmp_path: Path, more: tuple[str, ...], most: int) -> None:
    made = tmp_path / "qac.o"
    subprocess.run([*arm_compiler(), "-Os", "-c", *STRICT, *more, SOURCES / "qac.c", "-o", made], check=True)
    told = subprocess.run(["arm-none-eabi-size", made], check=True, capture_output=True, text=True).stdout
    assert int(told.splitlines()[1].split()[0]) <= most  # text and constants, with all codecs but those named


def test_the_dictionary_of_deflate_is_that_of_numpy() -> None:
    numbers = (SOURCES / "qac.c").read_text().split("packed_dictionary[] = {")[1].split("}")[0]
    packed = bytes(int(number) for number in numbers.split(",") if number.strip())
    assert zlib.decompress(packed, -15) == DICTIONARY
