"""rANS of few lanes, symbol by symbol, gives the states and words of the array operations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qacomp.formats.codecs import lanes as coder
from qacomp.formats.codecs.fewlanes import encode_few
from qacomp.formats.codecs.frequencies import normalised
from qacomp.formats.codecs.lanes import Tables
from qacomp.formats.codecs.lanesteps import StepEncoder


@given(st.integers(1, 600), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_static_code_is_the_same(count: int, lanes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = np.minimum(rng.geometric(0.4, count) - 1, 15).astype(np.uint8)
    tables = Tables(12, normalised([np.bincount(symbols, minlength=16)], 12)[0].astype(np.uint32)[None])
    lanes = min(lanes, count)
    with pytest.MonkeyPatch.context() as patched:
        found = []
        for few in (0, lanes):
            patched.setattr(coder, "FEW_TO_ENCODE", few)
            found.append(coder.encode(symbols, tables, lanes))
    for arrays in zip(*found, strict=True):
        assert arrays[0].dtype == arrays[1].dtype and np.array_equal(*arrays)


@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_steps_are_the_same(steps: int, lanes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frequency = rng.integers(1, 1 << 12, (steps, lanes)).astype(np.uint32)
    first = (rng.random((steps, lanes)) * ((1 << 12) - frequency)).astype(np.uint32)
    last = int(rng.integers(1, lanes + 1))  # lanes with a symbol in the last step
    states = rng.integers(1 << 16, 1 << 32, lanes, dtype=np.uint32)
    encoder = StepEncoder(states.copy(), 12, steps * lanes)
    for step in range(steps - 1, -1, -1):
        n = last if step == steps - 1 else lanes
        encoder.step(frequency[step, :n], first[step, :n])
    coded = steps * lanes - lanes + last
    found, words = encode_few(states, frequency.reshape(-1)[:coded], first.reshape(-1)[:coded], 12)
    assert np.array_equal(found, encoder.states) and np.array_equal(words, encoder.words())
