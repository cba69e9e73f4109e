"""Sharing a tensor of a large model takes little more memory than the tensor; zstd isn't tried in vain."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qacomp.formats import SharedTensor, bfloat16_from_float32, bfloat16_to_float32, encoding
from qacomp.formats.codec_choice import choose
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs import zstd as zstd_module
from qacomp.formats.codecs.zstd import Zstd
from qacomp.rate import plain
from qacomp.rate.grid_form import distinct
from qacomp.runtime import operator_error
from qacomp.sharing import zero_entry
from qacomp.sharing.form import fitted
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import Packed
from qacomp.sources import looking
from qacomp.tensors import constants

COUNT = 1 << 20
WEIGHTS = bfloat16_from_float32(np.random.default_rng(0).standard_normal((1024, COUNT // 1024)).astype(np.float32))


def bytes_a_value(call: Callable[[], Any]) -> float:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / COUNT
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plain, encoding, operator_error, looking, constants):
        monkeypatch.setattr(module, "_PART", 1 << 14)


def test_a_tensor_is_put_on_a_grid_in_parts() -> None:
    found: list[Any] = []
    assert bytes_a_value(lambda: found.append(plain.on_grid_within(WEIGHTS, 1e-3, "fp16"))) < 6
    shared = found[0].value
    error = operator_error.weight_error(WEIGHTS, shared.dense())
    assert -31 < error.db < -29.9  # the codebook is rounded to bfloat16
    assert bytes_a_value(lambda: operator_error.weight_error(WEIGHTS, WEIGHTS)) < 6


def test_a_tensor_is_looked_at_in_parts() -> None:
    assert bytes_a_value(lambda: looking.look_at("w", WEIGHTS)) < 6


def test_parts_give_the_grid_of_the_whole() -> None:
    values = np.random.default_rng(1).standard_normal(40_000)
    shared = plain._on_grid(values, None, 0.01)
    integers = np.rint(values / 0.01).astype(np.int64)
    found, places = distinct(integers)
    assert np.array_equal(shared.codebook, found * 0.01) and np.array_equal(shared.indices, places)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("error", [0.01, 1e-5])
def test_a_type_of_16_bits_gets_the_grid_of_the_same_values_in_32(kind: str, error: float) -> None:
    wide = np.random.default_rng(3).standard_normal((50, 700)).astype(np.float32)
    wide[:, ::9] = 0
    narrow: Any = bfloat16_from_float32(wide) if kind == "bfloat16" else wide.astype(np.float16)
    wide = bfloat16_to_float32(narrow) if kind == "bfloat16" else narrow.astype(np.float32)
    one, other = (plain.on_grid_within(values, error, "exact") for values in (narrow, wide))
    assert isinstance(one, Packed) and isinstance(other, Packed)
    assert isinstance(one.value, SharedTensor) and isinstance(other.value, SharedTensor)
    assert np.array_equal(one.value.indices, other.value.indices) and one.value.indices.shape == wide.shape
    dense: Any = one.dense()
    assert dense.dtype == narrow.dtype
    dense = bfloat16_to_float32(dense) if kind == "bfloat16" else dense
    assert np.allclose(dense.astype(np.float32), other.dense(), rtol=1e-2)


def test_zstd_gives_up_where_it_cannot_win_and_only_there() -> None:
    random = np.random.default_rng(2)
    noise = random.normal(0, 3, 1 << 20).round().clip(-8, 7).astype(np.int8).view(np.uint8) & 15
    stream = Stream("indices", noise.size, 16)
    codec = Zstd()
    full = len(codec.encode([noise], [stream]) or b"")
    assert codec.encode_below([noise], [stream], round(0.93 * full)) is None
    assert codec.encode_below([noise], [stream], round(1.02 * full)) is not None
    repeated = np.tile(noise[: 1 << 18], 4)  # what a piece at the front doesn't show
    size = len(codec.encode([repeated], [stream]) or b"")
    assert size < full / 3 and codec.encode_below([repeated], [stream], 2 * size) is not None
    assert zstd_module._estimate(repeated.tobytes()) < 1.2 * size


def test_many_indices_of_one_value_take_no_bytes() -> None:
    """A sample of them takes no bytes either; a codec that can't hold them isn't tried for that."""
    streams = [Stream("indices", 1 << 19, 1, shape=(1 << 19,))]
    assert choose("indices", [np.zeros(1 << 19, np.uint8)], streams).payload == b""


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_entries_are_those_of_one_bincount(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_entry, "_BLOCK", 1000)
    random = np.random.default_rng(3)
    values, places = random.standard_normal(7_777).astype(np.float32), random.integers(0, 9, 7_777).astype(np.uint8)
    masses = random.random(values.size) if weighted else None
    count, total = zero_entry._sums(places, values, masses, 9)
    assert np.array_equal(count, np.bincount(places, masses, 9))
    assert np.array_equal(total, np.bincount(places, values if masses is None else values * masses, 9))


def test_clusters_take_little_more_than_their_values() -> None:
    values = np.random.default_rng(4).standard_normal((1024, COUNT // 1024)).astype(np.float32)
    values[0, 0] = 0  # gets an entry of its own
    layer = Layer("w", "dense", values.shape, 16)
    found: list[Any] = []
    assert bytes_a_value(lambda: found.append(fitted(values, layer, "nearest"))) < 48  # the blocks are as long as it
    assert (found[0].codebook == 0).sum() == 1
    shared = SharedTensor(found[0].codebook, found[0].indices)
    assert bytes_a_value(shared.dense) < 6
    assert np.array_equal(shared.part(1000, 3000), shared.dense().reshape(-1)[1000:3000])
    assert operator_error.weight_error(values, shared) == operator_error.weight_error(values, shared.dense())
