"""Sections decoded in C for the numpy reader: the same values, and the same errors."""

from pathlib import Path

import numpy as np
import pytest
from attacks import GOLDEN

from qacomp.formats import CodecError, Coding, SharedTensor, open_file, save_file, verify_file
from qacomp.formats import native_sections as native
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.errors import NativeReaderError
from qacomp.formats.native_library import library

FILES = sorted(GOLDEN.glob("*.qac"))


@pytest.fixture
def asked(c_decoder: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sections are decoded in C. Returns the ids of codecs that C decoded, as they come."""
    monkeypatch.setenv(native.VARIABLE, "1")
    used: list[int] = []
    inner = native.decode_native

    def counted(codec: int, *rest: object) -> object:
        found = inner(codec, *rest)  # type: ignore[arg-type]
        if found is not None:
            used.append(codec)
        return found

    monkeypatch.setattr("qacomp.formats.sections.decode_native", counted)
    return used


def test_golden_files_have_their_digests(asked: list[int]) -> None:
    for path in FILES:
        verify_file(path)
    assert {2, 3, 4, 12} <= set(asked)


@pytest.mark.parametrize("k", [3, 16, 200, 300])
def test_values_are_those_of_numpy(k: int, asked: list[int], tmp_path: Path) -> None:
    random = np.random.default_rng(k)
    tensors = {
        f"w{n}": SharedTensor(
            np.sort(random.normal(size=k)).astype(np.float32),
            np.clip(random.normal(k / 2, k / 6, shape), 0, k - 1).astype(np.uint8 if k <= 256 else np.uint16),
        )
        for n, shape in enumerate([(20, 9, 3, 3), (2, 40, 30), (70,), (0, 3), (500, 5)])
    }
    for codecs in (None, ("rans",), ("twobyte", "raw")):
        save_file(tmp_path / "a.qac", tensors, coding=Coding(codecs, chunk_log2=9))
        with open_file(tmp_path / "a.qac") as container:
            for name, tensor in tensors.items():
                assert np.array_equal(container.tensor(name), tensor.dense())
                assert np.array_equal(container.shared(name).indices, tensor.indices)
    assert asked


@pytest.mark.usefixtures("c_decoder")
@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_damaged_section_is_refused_or_decoded_as_by_numpy(number: int) -> None:
    random = np.random.default_rng(number)
    values = random.integers(0, 9, 600).astype(np.uint8)
    streams = [Stream("indices", 400, 9, 1, (20, 20)), Stream("indices", 200, 9, 1, (200,))]
    coded = CODECS[number].encode([values[:400], values[400:]], streams)
    assert coded is not None
    for place in range(0, len(coded), 3):
        damaged = bytearray(coded)
        damaged[place] ^= 1 << place % 8
        for payload in (memoryview(damaged), memoryview(coded)[:place]):
            found = native.decode_native(number, payload, streams)
            try:
                expected = CODECS[number].decode(payload, streams)
            except CodecError:
                assert found is None
            else:
                assert found is not None and all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_without_a_compiler_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.VARIABLE, "1")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    library.cache_clear()
    with pytest.raises(NativeReaderError, match="no C compiler"):
        verify_file(GOLDEN / "rans.qac")
    monkeypatch.setenv(native.VARIABLE, "0")
    verify_file(GOLDEN / "rans.qac")
