"""Reading in parts: rows, mapped tensors, several processes, many groups; and nothing heavy imported."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.formats import (
    Coding,
    Level,
    OutputNotWritableError,
    SharedTensor,
    Writer,
    load_file,
    open_file,
    save_file,
    verify_file,
    write_atomically,
)
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.group_cache import GroupCache
from qacomp.formats.sections import Sections


@pytest.fixture(scope="module")
def tensors() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    book = np.linspace(-1, 1, 9).astype(np.float32)
    noise = rng.integers(0, 1 << 32, (90, 50), dtype=np.uint32).view(np.float32)
    return {
        "shared": SharedTensor(book, rng.integers(0, 9, (70, 11, 5)).astype(np.uint8)),
        "dense": rng.standard_normal((60, 40)).astype(np.float32),
        "noise": noise,
        "small": np.arange(12).reshape(4, 3),
        "little": SharedTensor(book, rng.integers(0, 9, (6, 7)).astype(np.uint8)),
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Any]) -> Path:
    target = tmp_path_factory.mktemp("access") / "a.qac"
    save_file(target, tensors, coding=Coding(chunk_log2=10))
    return target


def dense(tensor: Any) -> Any:
    return tensor.dense() if isinstance(tensor, SharedTensor) else tensor


@pytest.mark.parametrize("name", ["shared", "dense", "noise", "small", "little"])
@pytest.mark.parametrize("rows", [(0, 1), (3, 29), (0, 1000), (5, 5), (7, 2), (-2, 1000)])
def test_rows(path: Path, tensors: dict[str, Any], name: str, rows: tuple[int, int]) -> None:
    with open_file(path) as container:
        expected = dense(tensors[name])[slice(*rows)]
        found = container.rows(name, *rows)
        assert found.shape == expected.shape and found.tobytes() == expected.tobytes()


def test_rows_read_only_their_chunks(path: Path) -> None:
    data = bytearray(path.read_bytes())
    with open_file(bytes(data)) as container:
        last = max(s.offset for s in container.sections if s.tensors == ("dense",))
    data[last] ^= 1
    with open_file(bytes(data)) as container:
        assert container.rows("dense", 0, 20).shape == (20, 40)


def test_only_what_is_asked_for_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sections of one tensor, or of one run of rows: counted where every byte of a section is handed out."""
    read: set[int] = set()
    stored = Sections.stored

    def counted(self: Sections, place: int, always: bool = False) -> memoryview:
        read.add(place)
        return stored(self, place, always)

    monkeypatch.setattr(Sections, "stored", counted)
    for name in ("shared", "dense", "noise", "small", "little"):
        with open_file(path) as container:
            assert not read, "opening reads the header alone"
            own = {place for place, section in enumerate(container.sections) if name in section.tensors}
            container.tensor(name)
            assert read == own
            read.clear()
    with open_file(path) as container:
        chunks = [place for place, section in enumerate(container.sections) if section.tensors == ("dense",)]
        assert len(chunks) == 3, "60 rows of 40 values in chunks of 1,024"
        for rows, needed in (
            ((0, 25), chunks[:1]),
            ((26, 51), chunks[1:2]),
            ((25, 26), chunks[:2]),
            ((52, 60), chunks[2:]),
        ):
            container.rows("dense", *rows)
            assert sorted(read) == needed
            read.clear()


def test_a_group_is_decoded_once_for_all_its_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and with several groups open at once: time is bounded by the file, not its square."""
    book, level = np.arange(4, dtype=np.float32), Level(np.array([0.5, 2.5], np.float32), np.array([0, 0, 1, 1]))
    tensors: dict[str, Any] = {}
    for i in range(150):
        tensors[f"{i}.weight"] = SharedTensor(book, np.full((2, 3), i % 4, np.uint8), (level,) if i % 3 else ())
        for dtype in ("f4", "f8", "i8", "i4", "i2", "u1"):
            tensors[f"{i}.{dtype}"] = np.array([i], dtype)
    save_file(tmp_path / "a.qac", tensors)
    decoded: list[int] = []
    decode = Sections.decode

    def counted(self: Sections, place: int, streams: Sequence[Stream]) -> list[Array]:
        decoded.append(place)
        return decode(self, place, streams)

    monkeypatch.setattr(Sections, "decode", counted)
    back = load_file(tmp_path / "a.qac")
    assert len(decoded) == len(set(decoded)) < 20
    assert all(back[name].tobytes() == dense(tensor).tobytes() for name, tensor in tensors.items())


def test_a_large_group_and_others_are_kept_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in turn, none is decoded again: the cache's bound is that of the groups beside the largest."""
    monkeypatch.setattr("qacomp.formats.group_cache.CACHED_BYTES", 100)
    cache, made = GroupCache[str, str](), list[str]()

    def read(name: str, size: int) -> None:
        def make() -> tuple[str, int]:
            made.append(name)
            return name, size

        assert cache.get(name, make, 0) == name

    for _ in range(3):
        for name, size in (("small", 10), ("large", 5000), ("medium", 80)):
            read(name, size)
    assert made == ["small", "large", "medium"]
    read("another", 60)  # the one that was used longest ago goes
    read("medium", 80)
    read("small", 10)
    assert made[3:] == ["another", "medium", "small"]


def test_groups_beyond_the_cache_are_decoded_again(path: Path, tensors: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("qacomp.formats.group_cache.CACHED_BYTES", 0)
    for name, array in load_file(path).items():
        assert array.tobytes() == dense(tensors[name]).tobytes()


def test_a_raw_tensor_can_be_mapped(path: Path, tensors: dict[str, Any]) -> None:
    with open_file(path) as container:
        view = container.tensor("noise", copy=False)
        assert not view.flags.writeable and view.ctypes.data % 64 == 0
        assert container.tensor("noise").flags.writeable
    assert view.tobytes() == tensors["noise"].tobytes()  # the map lives as long as the view


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_any_number_of_processes_writes_the_same(
    tmp_path: Path, path: Path, tensors: dict[str, Any], threads: int
) -> None:
    save_file(tmp_path / "b.qac", tensors, coding=Coding(chunk_log2=10, threads=threads))
    assert (tmp_path / "b.qac").read_bytes() == path.read_bytes()


def test_several_processes_read_the_same(path: Path, tensors: dict[str, Any]) -> None:
    for name, array in load_file(path, threads=3).items():
        assert array.tobytes() == dense(tensors[name]).tobytes()
    verify_file(path, threads=2)


def test_an_error_in_a_worker_is_the_callers(path: Path) -> None:
    from qacomp.formats import ChecksumMismatchError

    data = bytearray(path.read_bytes())
    with open_file(bytes(data)) as container:
        places = [s.offset for s in container.sections if s.tensors == ("dense",)]
    data[places[1]] ^= 1
    with open_file(bytes(data), threads=2) as container, pytest.raises(ChecksumMismatchError, match="damaged"):
        container.tensor("dense")


def test_many_tensors_take_several_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    book = np.arange(4, dtype=np.float32)
    tensors = {f"layer{i}": SharedTensor(book, rng.integers(0, 4, (i % 7 + 1, 3)).astype(np.uint8)) for i in range(150)}
    save_file(tmp_path / "a.qac", tensors)
    with open_file(tmp_path / "a.qac") as container:
        assert sum(section.kind == "indices" for section in container.sections) == 3
    back = load_file(tmp_path / "a.qac")
    assert all(np.array_equal(back[name], tensor.dense()) for name, tensor in tensors.items())


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.qac").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "a.qac") as writer:
        writer.add("x", np.arange(5))
        raise KeyboardInterrupt

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.qac", chunks())
    assert [p.name for p in tmp_path.iterdir()] == ["a.qac"] and (tmp_path / "a.qac").read_bytes() == b"before"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputNotWritableError, match="No space left"):
        save_file(tmp_path / "a.qac", {"x": np.arange(5)})
    assert not list(tmp_path.iterdir())


def test_import_needs_numpy_and_zstandard_only() -> None:
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sklearn", "scipy", "onnx", "onnxruntime", "matplotlib", "rich", "click"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import qacomp.formats
outside = {n.split(".")[0] for n, m in sys.modules.items() if "site-packages" in (getattr(m, "__file__", "") or "")}
print(*sorted(outside - {"qacomp"}))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    found = {name for name in done.stdout.split() if not name.startswith(("__editable__", "_distutils_hack"))}
    assert found <= {"numpy", "zstandard", "_cffi_backend"}
