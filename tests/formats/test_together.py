"""Sections that are decoded together: the values of sections that are decoded one by one, and the same errors."""

from collections.abc import Sequence

import numpy as np
import pytest

from qacomp.formats import ChecksumMismatchError, Coding, SharedTensor, open_file, save_file, verify_file
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.contextcounts import add_each
from qacomp.formats.writer import Tensor

CONTEXT = CODECS[4]


def drawn(seed: int, shapes: Sequence[tuple[int, ...]], k: int) -> tuple[list[Array], list[Stream]]:
    """Bell-shaped indices whose filters and channels differ, so that the codec finds contexts."""
    rng = np.random.default_rng(seed)
    parts, streams = [], []
    for shape in shapes:
        spread = k / 8 * np.exp(0.5 * rng.standard_normal(shape[:2]).reshape(*shape[:2], *[1] * (len(shape) - 2)))
        values = np.clip(np.rint(rng.standard_normal(shape) * spread + k / 2), 0, k - 1).astype(np.uint8)
        parts.append(values.ravel())
        streams.append(Stream("indices", values.size, k, 1, shape))
    return parts, streams


def test_payloads_of_different_lanes_alphabets_and_taps_are_decoded_together() -> None:
    cases = [
        drawn(0, [(48, 16, 3, 3), (16, 48, 3, 3), (10, 48)], 16),  # one payload of several streams
        drawn(1, [(160, 90)], 50),
        drawn(2, [(160, 90)], 50),  # as many steps as the one before
        drawn(3, [(64, 40)], 3),
        drawn(4, [(60, 60), (3, 5)], 200),  # other bits
        drawn(5, [(9, 7)], 16),  # few lanes
        ([np.zeros(0, np.uint8)], [Stream("indices", 0, 16, 1, (0, 4))]),
    ]
    payloads = []
    for parts, streams in cases:
        coded = CONTEXT.encode(parts, streams)
        assert coded is not None
        payloads.append((memoryview(coded), streams))
    for found, (parts, _) in zip(CONTEXT.decode_many(payloads), cases, strict=True):
        for one, expected in zip(found, parts, strict=True):
            assert one.dtype == expected.dtype and np.array_equal(one, expected)
    for (payload, streams), (parts, _) in zip(payloads, cases, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(CONTEXT.decode(payload, streams), parts, strict=True))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file with several sections of contexts, small chunks and a group; its tensors."""
    path = tmp_path_factory.mktemp("together") / "a.qac"
    tensors: dict[str, Tensor] = {}
    for seed in range(4):
        (part,), (stream,) = drawn(seed, [(60 + 8 * seed, 48)], 16)
        tensors[f"w{seed}"] = SharedTensor(np.linspace(-1, 1, 16, dtype=np.float32), part.reshape(stream.shape))
    save_file(path, tensors, coding=Coding(("context",), chunk_log2=11))
    values = {n: t.codebook[t.indices] for n, t in tensors.items() if isinstance(t, SharedTensor)}
    return path.read_bytes(), values


def test_a_file_read_ahead_has_the_same_values_in_any_order(written: tuple[bytes, dict[str, np.ndarray]]) -> None:
    data, expected = written
    verify_file(data)
    with open_file(data) as container:
        assert sum(section.codec == "context" for section in container.sections) > 4
        container.read_ahead()
        for _ in range(2):
            for name in reversed(container.names):
                assert np.array_equal(container.tensor(name), expected[name])


def test_a_damaged_section_concerns_its_own_tensor_alone(written: tuple[bytes, dict[str, np.ndarray]]) -> None:
    data, expected = bytearray(written[0]), written[1]
    with open_file(written[0]) as container:
        hit = next(s for s in container.sections if s.tensors == ("w2",))
    data[hit.offset + 40] ^= 1
    with open_file(bytes(data)) as container:
        container.read_ahead()
        for name in ("w0", "w1", "w3"):
            assert np.array_equal(container.tensor(name), expected[name])
        with pytest.raises(ChecksumMismatchError, match="section"):
            container.tensor("w2")


@pytest.mark.parametrize("bins", [3, 5000])
def test_amounts_are_added_at_their_keys(bins: int) -> None:
    rng = np.random.default_rng(bins)
    keys, amounts = rng.integers(0, bins, 100), rng.integers(0, 1 << 40, 100)
    for given in (None, amounts):
        found, expected = np.arange(bins), np.arange(bins)
        add_each(found, keys, given)
        np.add.at(expected, keys, 1 if given is None else given)
        assert np.array_equal(found, expected)
