"""The choice of a codec for long sections: the smallest result, without encoding what the entropy rules out."""

from collections.abc import Callable

import numpy as np
import pytest

from qacomp.formats.codec_choice import choose
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.context import Context
from qacomp.formats.codecs.huffman import Huffman
from qacomp.formats.codecs.rans import Rans

ROWS, COLUMNS = 400, 600
PLAIN = (Rans, Huffman)


def section(spread: float) -> tuple[list[np.ndarray], list[Stream]]:
    """Bell-shaped indices below 16, whose columns' widths differ by a log-normal factor of this spread."""
    rng = np.random.default_rng(0)
    widths = 2.0 * np.exp(spread * rng.standard_normal(COLUMNS))
    indices = np.clip(np.rint(rng.standard_normal((ROWS, COLUMNS)) * widths) + 8, 0, 15).astype(np.uint8)
    return [indices.reshape(-1)], [Stream("indices", indices.size, 16, shape=indices.shape)]


def only_samples(encode_below: Callable[..., bytes | None]) -> Callable[..., bytes | None]:
    """Encode as before, but fail for a whole section."""

    def encoded(self: object, parts: list[np.ndarray], *rest: object) -> bytes | None:
        assert parts[0].size < ROWS * COLUMNS, "encoded for nothing"
        return encode_below(parts, *rest)

    return encoded


def test_where_columns_differ_static_codes_are_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, streams = section(0.8)
    smallest = min(len(CODECS[codec.id].encode(parts, streams) or b"") for codec in PLAIN)
    for codec in PLAIN:
        monkeypatch.setattr(codec, "encode_below", only_samples(CODECS[codec.id].encode_below))
    choice = choose("indices", parts, streams)
    assert choice.codec.name == "context" and len(choice.payload) < 0.97 * smallest
    assert {"rans", "huffman"} <= choice.candidates.keys()  # estimated from a sample
    assert np.array_equal(choice.codec.decode(memoryview(choice.payload), streams)[0], parts[0])


def test_without_structure_the_context_codec_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, streams = section(0.0)
    monkeypatch.setattr("qacomp.formats.codecs.context.forward", lambda *given: pytest.fail("encoded for nothing"))
    choice = choose("indices", parts, streams)
    every = {name: CODECS[n].encode(parts, streams) for n, name in ((c.id, c.name) for c in (Rans, Huffman))}
    assert len(choice.payload) == min(len(coded or b"") for coded in every.values())


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.4])
def test_the_choice_is_the_smallest_up_to_a_thousandth(spread: float) -> None:
    parts, streams = section(spread)
    every = [CODECS[codec.id].encode(parts, streams) for codec in (*PLAIN, Context)]
    assert len(choose("indices", parts, streams).payload) <= 1.002 * min(len(coded or b"") for coded in every)
