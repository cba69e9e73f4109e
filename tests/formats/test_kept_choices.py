"""Test that what small sections were encoded to is kept: same bytes, encoded once, within bounds."""

from pathlib import Path

import numpy as np
import pytest

from qacomp.formats import SharedTensor, save_file
from qacomp.formats import encoding as writing
from qacomp.formats import kept_choices as kept
from qacomp.formats.codec_choice import Choice, choose
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array, Kind
from qacomp.formats.codecs.raw import Raw

RNG = np.random.default_rng(0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The values of each section that is encoded; nothing is kept from before."""
    found: list[int] = []

    def counted(kind: Kind, parts: list[Array], streams: list[Stream], names: list[str] | None) -> Choice:
        found.append(sum(part.size for part in parts))
        return choose(kind, parts, streams, names)

    monkeypatch.setattr(kept, "choose", counted)
    monkeypatch.setattr(writing, "KEPT", kept.KeptChoices())
    return found


def words(values: Array) -> tuple[list[Array], list[Stream]]:
    return [values], [Stream("values", values.size, shape=values.shape)]


def test_a_file_written_again_has_the_same_bytes_and_encodes_nothing(tmp_path: Path, calls: list[int]) -> None:
    book = np.linspace(-1, 1, 8, dtype=np.float32)
    tensors = {f"w{n}": SharedTensor(book, RNG.integers(0, 8, (20, 30), np.uint8)) for n in range(3)}
    save_file(tmp_path / "a.qac", tensors, graph=b"a graph" * 40)
    encoded = len(calls)
    save_file(tmp_path / "b.qac", tensors, graph=b"a graph" * 40)
    assert len(calls) == encoded > 3
    changed = tensors | {"w1": SharedTensor(book, RNG.integers(0, 8, (20, 30), np.uint8))}
    save_file(tmp_path / "c.qac", changed, graph=b"a graph" * 40)
    assert encoded < len(calls) < 2 * encoded
    again = [(tmp_path / f"{name}.qac").read_bytes() for name in "abc"]
    assert again[0] == again[1] != again[2]


def test_what_a_choice_depends_on_is_asked_for_anew(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    parts, streams = words(RNG.integers(0, 9, 300).astype(np.uint32))
    found = kept.KeptChoices()
    first = found.choose("values", parts, streams, None)
    assert found.choose("values", parts, streams, None) is first and len(calls) == 1
    assert found.choose("values", parts, streams, ("raw",)).codec.name == "raw"
    found.choose("values", parts, [Stream("values", 300, shape=(20, 15))], None)
    found.choose("values", [parts[0] + 1], streams, None)
    monkeypatch.setitem(CODECS, Raw.id, Raw())  # as a package that registers another one
    found.choose("values", parts, streams, None)
    assert len(calls) == 5


def test_few_bytes_are_kept_and_the_last_ones(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    found, many = kept.KeptChoices(), [words(RNG.integers(0, 1 << 32, 250).astype(np.uint32)) for _ in range(5)]
    size = len(kept.KeptChoices().choose("values", *many[0], ("raw",)).payload)
    calls.clear()
    monkeypatch.setattr(kept, "_MOST_BYTES", 3 * size)
    for parts, streams in many:
        found.choose("values", parts, streams, ("raw",))
    found.choose("values", *many[4], ("raw",))
    assert len(calls) == 5
    found.choose("values", *many[0], ("raw",))
    assert len(calls) == 6
    monkeypatch.setattr(kept, "_LARGEST", 200)
    found.choose("values", *many[0], ("raw",))
    assert len(calls) == 7
