"""The C decoder: what it reads is what the numpy reader reads, bit for bit; it refuses what that refuses."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from attacks import GOLDEN
from refusals import refused_by_c

from qacomp.formats import Coding, SharedTensor, TensorNotFoundError, open_file, save_file
from qacomp.formats.errors import NativeReaderError
from qacomp.formats.native import Mode, open_native
from qacomp.formats.native_library import FileStruct, SourceStruct, library
from qacomp.formats.writer import Tensor

FILES = sorted(path.stem for path in GOLDEN.glob("*.qac"))
MODES = (Mode("fast"), Mode("lean"), Mode("fast", by_function=True), Mode("lean", by_function=True))


def assert_same_values(data: bytes, mode: Mode) -> None:
    """Every tensor at every level, and its middle rows, as both readers return them."""
    with open_file(data) as ours, open_native(data, mode) as theirs:
        assert (theirs.names, theirs.version, theirs.levels) == (ours.names, ours.version, ours.levels)
        assert theirs.graph() == ours.graph()
        theirs.check()
        for name in ours.names:
            for level in (None, *range(ours.levels)):
                expected, found = ours.tensor(name, level=level), theirs.tensor(name, level=level)
                assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
                assert found.tobytes() == expected.tobytes(), (name, level)
                if expected.ndim:
                    middle = len(expected) // 3, len(expected) // 2 + 1
                    rows = theirs.rows(name, *middle, level=level)
                    assert rows.tobytes() == expected[slice(*middle)].tobytes(), (name, level)


@pytest.mark.usefixtures("c_decoder")
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", FILES)
def test_golden_files_have_the_same_values(name: str, mode: Mode) -> None:
    assert_same_values((GOLDEN / f"{name}.qac").read_bytes(), mode)


@pytest.mark.usefixtures("c_decoder")
@pytest.mark.parametrize("codec", ["raw", "bitpack", "huffman", "rans", "context", "zstd", "lzma"])
@pytest.mark.parametrize(("k", "shape"), [(2, (40, 30)), (16, (64, 16, 3, 3)), (200, (50, 41)), (1, (7,)), (3, (0, 4))])
def test_every_codec_of_indices(codec: str, k: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    random = np.random.default_rng(k)
    drawn = np.clip(random.normal(k / 2, k / 6 + 0.1, shape), 0, k - 1).astype(np.uint8)
    tensors: dict[str, Tensor] = {
        "w": SharedTensor(random.normal(size=k).astype(np.float32), drawn),
        "b": random.normal(size=9),
    }
    save_file(tmp_path / "a.qac", tensors, coding=Coding((codec,), chunk_log2=10))
    for mode in (MODES[0], MODES[3]):
        assert_same_values((tmp_path / "a.qac").read_bytes(), mode)


@pytest.mark.usefixtures("c_decoder")
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_and_every_cut_is_refused(name: str) -> None:
    data = (GOLDEN / f"{name}.qac").read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        assert refused_by_c(bytes(damaged)) and refused_by_c(data[:place])
    assert refused_by_c(data + b"\0") and not refused_by_c(data)


@pytest.mark.usefixtures("c_decoder")
def test_the_arena_is_as_large_as_it_says() -> None:
    """With eight bytes less, some tensor can't be read, and the error is that of memory."""
    data = np.frombuffer((GOLDEN / "levels.qac").read_bytes(), np.uint8)
    with open_native(data.tobytes()) as container:
        lean, fast = container.arena_bytes("lean"), container.arena_bytes("fast")
    assert 0 < lean <= fast
    source, file, functions = SourceStruct(data.ctypes.data, data.size), FileStruct(), library()
    errors = {}
    for size in (lean, lean - 16):
        arena, out = np.zeros(size + 8, np.uint8), np.zeros(1 << 16, np.uint8)
        start = arena.ctypes.data + -arena.ctypes.data % 8
        found = {functions.qac_open(file, source, 0, start, size)}
        found |= {functions.qac_read(file, n, 0xFFFFFFFF, out.ctypes.data, out.size) for n in range(file.tensors)}
        errors[size] = found
    assert errors == {lean: {0}, lean - 16: {0, 9}}


@pytest.mark.usefixtures("c_decoder")
def test_a_tensor_that_is_not_there(tiny: bytes) -> None:
    with open_native(tiny) as container, pytest.raises(TensorNotFoundError, match="no tensor 'x' among its 2"):
        container.tensor("x")


def test_without_a_compiler_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tiny: bytes) -> None:
    library.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NativeReaderError, match="no C compiler"):
        open_native(tiny)
    library.cache_clear()


@pytest.mark.usefixtures("c_decoder")
def test_the_room_for_a_file_is_large_enough() -> None:
    assert library().qac_file_bytes() <= ctypes.sizeof(FileStruct)
