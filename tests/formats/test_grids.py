"""Codebooks on grids: bit for bit in a few bytes, refused by readers that lack them, and nothing else taken for one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.formats import (
    BFLOAT16,
    Coding,
    SharedTensor,
    UnsupportedVersionError,
    Writer,
    bfloat16_from_float32,
    open_file,
    save_file,
)
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.errors import CodecError

GRIDS = CODECS[10]
FLOATS: dict[int, np.dtype[Any]] = {9: np.dtype("<f2"), 10: BFLOAT16, 11: np.dtype("<f4"), 12: np.dtype("<f8")}


def drawn(codebooks: int, k: int, dtype: int, seed: int, significand: int = 15) -> tuple[Array, Stream]:
    """Words of codebooks whose scales are integers below `significand`, times a power of two."""
    rng = np.random.default_rng(seed)
    zero = rng.integers(0, k, (codebooks, 1))
    scale = np.ldexp(rng.integers(1, significand + 1, (codebooks, 1)).astype(np.float32), rng.integers(-9, -4))
    values = ((np.arange(k) - zero) * scale).astype(np.float32)
    typed: NDArray[Any] = bfloat16_from_float32(values) if dtype == 10 else values.astype(FLOATS[dtype])
    words = typed.reshape(-1).view(f"<u{typed.itemsize}")
    return words, Stream("values", words.size, 0, dtype, values.shape, codebooks=True)


@given(
    st.integers(1, 40), st.integers(2, 16), st.sampled_from([9, 10, 11, 12]), st.integers(0, 999), st.integers(0, 30)
)
def test_grids_come_back_wherever_they_end(codebooks: int, k: int, dtype: int, seed: int, short: int) -> None:
    words, stream = drawn(codebooks, k, dtype, seed)
    count = max(words.size - short, 1)
    part, cut = words[:count], replace(stream, count=count)
    coded = GRIDS.encode([part], [cut])
    if count % k == 1:
        assert (coded is None) == (_first(part, dtype, count - 1) > 0)
    else:
        assert coded is not None
    if coded is not None:
        assert np.array_equal(GRIDS.decode(memoryview(coded), [cut])[0], part)


def _first(words: Array, dtype: int, place: int) -> float:
    word = int(words[place])
    return 0.0 if word == 0 else -1.0 if word >> (8 * words.itemsize - 1) else 1.0


def test_a_grid_of_256_values_takes_bytes_of_its_two_numbers() -> None:
    words, stream = drawn(300, 256, 11, 1, 255)
    coded = {c.name: c.encode([words], [stream]) for c in CODECS.values() if "values" in c.kinds}
    sizes = {name: len(payload) for name, payload in coded.items() if payload is not None}
    assert sizes["grids"] < 300 * 2.5 and sizes["grids"] * 3 < min(n for c, n in sizes.items() if c != "grids")


@pytest.mark.parametrize("change", ["value", "negative zero", "nan", "descending", "all equal", "above zero"])
def test_what_is_no_grid_is_left_to_other_codecs(change: str) -> None:
    words, stream = drawn(4, 8, 11, 3)
    table = words.view("<f4").reshape(4, 8).copy()
    rows = {
        "value": np.nextafter(table[2], np.float32(9)),
        "negative zero": np.where(table[2] == 0, np.float32(-0.0), table[2]),
        "nan": np.full(8, np.nan, np.float32),
        "descending": table[2][::-1],
        "all equal": np.zeros(8, np.float32),
        "above zero": np.arange(1, 9, dtype=np.float32),
    }
    table[2] = rows[change]
    assert GRIDS.encode([table.reshape(-1).view("<u4")], [stream]) is None
    assert GRIDS.encode([words], [replace(stream, codebooks=False)]) is None
    assert GRIDS.encode([words], [replace(stream, start=3)]) is None
    assert GRIDS.encode([words], [replace(stream, dtype=5)]) is None


def test_numbers_that_are_no_grid_are_refused() -> None:
    words, stream = drawn(3, 8, 9, 4)
    coded = GRIDS.encode([words], [stream])
    assert coded is not None
    head = coded[: 1 + coded[0]]
    for scale in (0.0, -1.0, np.inf, np.nan):
        scales = CODECS[5].encode([np.full(3, scale, "<f2").view("<u2")], [Stream("values", 3, 0, 9)])
        assert scales is not None
        with pytest.raises(CodecError, match="scale or zero point"):
            GRIDS.decode(memoryview(head + scales), [stream])
    zeros = CODECS[5].encode([np.array([0, 8, 1], np.uint8)], [Stream("values", 3)])
    assert zeros is not None
    with pytest.raises(CodecError, match="scale or zero point"):
        GRIDS.decode(memoryview(bytes([len(zeros)]) + zeros + coded[len(head) :]), [stream])
    with pytest.raises(CodecError, match="codec grids"):
        GRIDS.decode(memoryview(coded), [replace(stream, codebooks=False)])


def test_a_file_with_grids_is_of_version_1_2_and_older_readers_refuse_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, _ = drawn(6, 256, 11, 5)
    books = words.view("<f4").reshape(6, 1, 256)
    tensor = SharedTensor(books, np.random.default_rng(0).integers(0, 256, (6, 40)).astype(np.uint8), (), (1, 40))
    with Writer(tmp_path / "a.qac") as writer:
        writer.add("w", tensor)
        writer.add("b", np.arange(3, dtype=np.float32), "fp16")
    with open_file(tmp_path / "a.qac") as container:
        assert container.version == (1, 2) and np.array_equal(container.tensor("w"), tensor.dense())
        assert "grids" in [section.codec for section in container.sections]
        assert (container.info("w").stored_dtype, container.info("b").stored_dtype) == ("float32", "float16")
    save_file(tmp_path / "b.qac", {"w": tensor}, coding=Coding(codecs=("codebooks", "rans")))
    assert (tmp_path / "b.qac").read_bytes()[4:6] == bytes([1, 1])
    monkeypatch.delitem(CODECS, GRIDS.id)  # a reader of version 1.1
    monkeypatch.setattr("qacomp.formats.reader.VERSION", (1, 1))
    with open_file(tmp_path / "a.qac") as container:
        assert container.tensor("b").tolist() == [0, 1, 2]
        with pytest.raises(UnsupportedVersionError, match=r"codec 10.*update qacomp"):
            container.tensor("w")


@pytest.mark.parametrize("dtype", sorted(FLOATS))
def test_words_of_any_kind_are_no_grids(dtype: int) -> None:
    size = 2 if dtype == 10 else FLOATS[dtype].itemsize
    words = np.random.default_rng(dtype).integers(0, 1 << 62, 4096, dtype=np.uint64).astype(f"<u{size}")
    nan = np.full(16, (1 << 8 * size - 1) - 2, words.dtype)
    for part in (words, nan):
        assert (
            GRIDS.encode([part], [Stream("values", part.size, 0, dtype, (part.size // 4, 4), codebooks=True)]) is None
        )
