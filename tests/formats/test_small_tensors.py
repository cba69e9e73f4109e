"""Many small tensors in one section: what spares work must not change which form is the smallest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.contextchoice import is_hopeless
from qacomp.formats.codecs.huffman import MAX_LENGTH, code_lengths
from qacomp.formats.codecs.rangecoder import RangeEncoder, adaptive_bit, update

CONTEXT = next(codec for codec in CODECS.values() if codec.name == "context")
RANS = next(codec for codec in CODECS.values() if codec.name == "rans")


def parts_of(rng: np.random.Generator, count: int, shape: tuple[int, int], alphabet: int, quiet: float) -> list[Array]:
    """Indices of normal weights; with `quiet` above zero the rows and columns differ in size, the more the larger."""
    found = []
    for _ in range(count):
        scale = rng.random((shape[0], 1)) ** quiet * rng.random((1, shape[1])) ** quiet
        weights = rng.standard_normal(shape) * scale
        companded = np.sign(weights) * np.sqrt(np.abs(weights))  # about as k-means spaces its values
        draw = companded / np.abs(companded).max() * alphabet / 2 + alphabet / 2
        found.append(np.clip(draw, 0, alphabet - 1).astype(np.uint8).reshape(-1))
    return found


def trial(parts: list[Array], shape: tuple[int, int], alphabet: int, most: int) -> bool:
    streams = [Stream("indices", part.size, alphabet, 1, shape) for part in parts]
    centres = [model.middle(np.bincount(part, minlength=alphabet)) for part in parts]
    return is_hopeless(np.concatenate(parts), streams, centres, 12, 8 * most)


@pytest.mark.parametrize("alphabet", [16, 32])
def test_contexts_of_small_alike_tensors_are_given_up_where_they_lose(alphabet: int) -> None:
    shape = (16, 16)
    parts = parts_of(np.random.default_rng(1), 64, shape, alphabet, 0)
    streams = [Stream("indices", part.size, alphabet, 1, shape) for part in parts]
    static, whole = RANS.encode(parts, streams), CONTEXT.encode(parts, streams)
    assert static is not None and whole is not None and len(static) < len(whole)
    assert trial(parts, shape, alphabet, len(static))
    assert not trial(parts, shape, alphabet, len(whole))


def test_contexts_of_small_tensors_with_quiet_filters_are_tried() -> None:
    shape = (32, 32)
    parts = parts_of(np.random.default_rng(2), 64, shape, 16, 2)
    streams = [Stream("indices", part.size, 16, 1, shape) for part in parts]
    static, whole = RANS.encode(parts, streams), CONTEXT.encode(parts, streams)
    assert static is not None and whole is not None and len(whole) < len(static)
    assert not trial(parts, shape, 16, len(static))
    assert CONTEXT.encode_below(parts, streams, len(static)) == whole


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 15),  # of more a part tells
    rows=st.integers(1, 12),
    columns=st.integers(1, 40),
    alphabet=st.sampled_from([1, 2, 4, 16, 64, 256]),
    quiet=st.sampled_from([0.0, 1.0, 3.0]),
)
@settings(max_examples=25, deadline=None)
def test_no_form_that_fits_is_given_up(
    seed: int, count: int, rows: int, columns: int, alphabet: int, quiet: float
) -> None:
    shape = (rows, columns)
    parts = parts_of(np.random.default_rng(seed), count, shape, alphabet, quiet)
    streams = [Stream("indices", part.size, alphabet, 1, shape) for part in parts]
    for codec in (CONTEXT, RANS):
        whole = codec.encode(parts, streams)
        assert whole is not None and codec.encode_below(parts, streams, len(whole)) == whole


@given(counts=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=40).filter(any))
def test_code_lengths_fill_the_space_and_no_swap_is_shorter(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts, np.int64))
    used = [(count, int(length)) for count, length in zip(counts, lengths, strict=True) if count]
    assert all((length > 0) == (count > 0) for count, length in zip(counts, lengths, strict=True))
    assert max(length for _, length in used) <= MAX_LENGTH
    if len(used) > 1:
        assert sum(2 ** (MAX_LENGTH - length) for _, length in used) == 1 << MAX_LENGTH
    if max(length for _, length in used) < MAX_LENGTH:
        assert all(a[1] >= b[1] for a in used for b in used if a[0] < b[0])


@given(bits=st.lists(st.booleans(), max_size=100))
def test_coding_a_bit_teaches_a_model_as_reading_it_does(bits: list[bool]) -> None:
    coded, told = adaptive_bit(), adaptive_bit()
    coder = RangeEncoder()
    for bit in bits:
        coder.bit(coded, int(bit))
        update(told, int(bit))
        assert coded == told
