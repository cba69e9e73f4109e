"""Deltas: exact for any pair of containers, bound to their base, and an error for every damaged or hostile one."""

import contextlib
import hashlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.formats import Coding, FormatError, SharedTensor, open_file, save_file
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.deltas import Delta, delta_chunks, make_delta, read_delta, updated
from qacomp.formats.deltas.changes import RATE_LIMIT, SETTINGS
from qacomp.formats.deltas.file import DIFFERENCE, REFERRED, WHOLE, Step
from qacomp.formats.deltas.prediction import nearest
from qacomp.formats.deltas.rebuilding import choices_of, rebuilt
from qacomp.formats.errors import WrongBaseError
from qacomp.rate.trellis import ScaledRows, on_trellis

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "deltas_v1"
OLD, NEW, UPDATE = ((GOLDEN / name).read_bytes() for name in ("old.qac", "new.qac", "update.qacd"))


def made(old: bytes, new: bytes) -> bytes:
    with open_file(old) as base, open_file(new) as container:
        return b"".join(delta_chunks(make_delta(base, container)))


def applied(old: bytes, delta: bytes) -> bytes:
    with open_file(old) as base:
        return b"".join(updated(read_delta(memoryview(delta), "update"), base).chunks())


def saved(tensors: dict[str, Any], folder: Path, **options: Any) -> bytes:
    save_file(folder / "a.qac", tensors, **options)
    return (folder / "a.qac").read_bytes()


def test_the_golden_delta_makes_the_golden_file() -> None:
    lines = [line.split("  ") for line in (GOLDEN / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    for path in GOLDEN.glob("*.qac*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums.pop(path.name)
    assert not sums and applied(OLD, UPDATE) == NEW
    steps = read_delta(memoryview(UPDATE), "update").steps
    assert {step.method for step in steps} == {REFERRED, WHOLE, DIFFERENCE}


def test_every_flipped_byte_and_every_cut() -> None:
    for place in range(len(UPDATE)):
        damaged = bytearray(UPDATE)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(FormatError, match=r"^update"):
            applied(OLD, bytes(damaged))
        with pytest.raises(FormatError, match=r"^update"):
            applied(OLD, UPDATE[:place])
    with pytest.raises(FormatError, match="after its end"):
        applied(OLD, UPDATE + b"\0")


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_changed_payloads_with_right_checksums(data: st.DataObject) -> None:
    delta = read_delta(memoryview(UPDATE), "update")
    payloads = [delta.head, *(step.payload for step in delta.steps)]
    chosen = data.draw(st.sampled_from([n for n, payload in enumerate(payloads) if len(payload)]))
    damaged = bytearray(payloads[chosen])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    payloads[chosen] = bytes(damaged)
    steps = tuple(replace(step, payload=p) for step, p in zip(delta.steps, payloads[1:], strict=True))
    hostile = b"".join(delta_chunks(replace(delta, head=payloads[0], steps=steps)))
    try:
        assert applied(OLD, hostile) == NEW
    except FormatError as error:
        assert str(error).startswith("update")


def test_hostile_steps() -> None:
    delta = read_delta(memoryview(UPDATE), "update")

    def refused(changed: Delta, why: str) -> None:
        with pytest.raises(FormatError, match=why):
            applied(OLD, b"".join(delta_chunks(changed)))

    refers = next(n for n, step in enumerate(delta.steps) if step.method == REFERRED)
    other = next(n for n, step in enumerate(delta.steps) if step.method == WHOLE)

    def with_step(place: int, step: Step) -> Delta:
        return replace(delta, steps=(*delta.steps[:place], step, *delta.steps[place + 1 :]))

    refused(with_step(other, Step(REFERRED, number=delta.steps[refers].number)), "again|isn't the one")
    refused(with_step(refers, Step(REFERRED, number=1000)), "refers to none")
    refused(with_step(other, Step(DIFFERENCE, payload=b"\0\0")), "without tensors|differ|damaged")
    refused(replace(delta, steps=delta.steps[:-1]), "its parts")
    refused(replace(delta, new=replace(delta.new, digest=bytes(32))), "doesn't make")
    refused(replace(delta, new=replace(delta.new, size=1 << 61)), "bytes")


def test_a_wrong_base_is_told() -> None:
    with pytest.raises(WrongBaseError, match=r"isn't what update was made from"):
        applied((GOLDEN.parent / "v1" / "tiny.qac").read_bytes(), UPDATE)
    with pytest.raises(WrongBaseError, match="already is"):
        applied(NEW, UPDATE)


@given(
    seed=st.integers(0, 10**6), k=st.sampled_from([2, 5, 16, 300]), other=st.integers(-1, 1), chunk=st.integers(6, 9)
)
@settings(max_examples=5, deadline=None)
def test_any_pair_is_exact(tmp_path_factory: pytest.TempPathFactory, seed: int, k: int, other: int, chunk: int) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("pair")

    def tensors(wider: int) -> dict[str, Any]:
        book = np.sort(rng.normal(size=k + wider)).astype(np.float32)
        indices = rng.integers(0, k + wider, (7, 3, 5)).astype(np.uint8 if k + wider <= 256 else np.uint16)
        return {
            "w": SharedTensor(book, indices),
            "v": rng.normal(size=40).astype([np.float32, np.float64][rng.integers(2)]),
            "n": rng.integers(-5, 5, (4, 6), dtype=np.int32),
            "flag": np.array(rng.integers(0, 2, 3), bool),
            "empty": np.zeros((0, 3), np.float32),
        }

    coding = Coding(("raw", "bitpack", "rans", "context", "planes"), chunk_log2=chunk)
    old, new = (saved(tensors(wider), folder, coding=coding) for wider in (0, max(other, 1 - k)))
    assert applied(old, made(old, new)) == new and applied(new, made(new, old)) == old


def test_few_changes_take_few_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    indices = np.clip(rng.normal(8, 2, (64, 32, 3, 3)).round(), 0, 15).astype(np.uint8)
    other = indices.copy()
    places = rng.choice(indices.size, indices.size // 100, replace=False)
    other.reshape(-1)[places] = np.clip(other.reshape(-1)[places] + 1, 0, 15)
    book = np.linspace(-1, 1, 16, dtype=np.float32)
    old, new = (saved({"w": SharedTensor(book, part)}, tmp_path) for part in (indices, other))
    bits = indices.size * (0.0808 + 0.01)  # the entropy of one change in a hundred, and as many again for the way
    assert len(made(old, new)) < bits / 8 + 250
    assert len(made(old, old)) < 250


@pytest.mark.parametrize("name", ["raw", "bitpack", "rans", "context", "planes"])
@pytest.mark.parametrize("alphabet", [1, 2, 16, 200])
def test_payloads_are_made_again(name: str, alphabet: int) -> None:
    codec = next(codec for codec in CODECS.values() if codec.name == name)
    rng = np.random.default_rng(alphabet)
    counts, streams = (700, 0, 33), []
    for count in counts:
        streams.append(
            Stream("indices", count, alphabet, shape=(count,))
            if "indices" in codec.kinds
            else Stream("values", count, 0, 9, (count,))
        )
    parts: list[Any] = [rng.binomial(alphabet - 1, 0.3, n) for n in counts]
    if "indices" in codec.kinds:
        parts = [part.astype(np.uint8) for part in parts]
    else:
        parts = [(part / 7).astype(np.float16).view(np.uint16) for part in parts]
    payload = codec.encode(parts, streams)
    assert payload is not None
    choices = choices_of(codec.id, memoryview(payload), streams)
    assert choices is not None and rebuilt(codec.id, memoryview(choices), parts, streams) == payload


@pytest.mark.parametrize("name", ["trellis", "mixing"])
@pytest.mark.parametrize("way", ["rows", "first axis", "in the midst of a row"])
def test_payloads_on_a_trellis_are_made_again(way: str, name: str) -> None:
    codec = next(codec for codec in CODECS.values() if codec.name == name)
    multiples = paths(24, 90)
    indices = (multiples.T if way == "first axis" else multiples) + 10
    streams = [Stream("indices", indices.size, 21, shape=indices.shape), Stream("indices", 33, 4, shape=(3, 11))]
    parts = [indices.reshape(-1).astype(np.uint8), np.random.default_rng(1).integers(0, 4, 33).astype(np.uint8)]
    if way == "in the midst of a row":
        streams, parts = [replace(streams[0], count=1100, start=200)], [parts[0][200:1300]]
    payload = codec.encode(parts, streams)
    assert payload is not None
    choices = choices_of(codec.id, memoryview(payload), streams)
    assert choices is not None and rebuilt(codec.id, memoryview(choices), parts, streams) == payload
    parts[0][7] ^= 1
    with pytest.raises(FormatError):
        rebuilt(codec.id, memoryview(choices), parts, streams)
    for place, value in enumerate(choices):  # each choice is checked
        for other in {0, 1, value ^ 1, 255}:
            hostile = choices[:place] + bytes([other]) + choices[place + 1 :]
            with contextlib.suppress(FormatError):
                rebuilt(codec.id, memoryview(hostile), parts, streams)


@pytest.mark.parametrize(("name", "version"), [("trellis", 1), ("mixing", 2)])
def test_a_few_changes_on_a_trellis_take_few_bytes(tmp_path: Path, name: str, version: int) -> None:
    book = ((np.arange(21) - 10) / 64).astype(np.float32)
    old = paths(40, 200)
    new = old.copy()
    new[3] = paths(40, 200, seed=1)[3]
    tensors = [{"w": SharedTensor(book, (part + 10).astype(np.uint8))} for part in (old, new)]
    files = [saved(t, tmp_path, coding=Coding((name, "planes", "zstd"))) for t in tensors]
    delta = made(*files)
    assert len(delta) < 0.15 * len(files[1]) and applied(files[0], delta) == files[1]
    assert read_delta(memoryview(delta), "d").version == (1, version)
    assert read_delta(memoryview(made(files[0], files[0])), "d").version == (1, 0)


def paths(rows: int, length: int, seed: int = 0) -> NDArray[np.int64]:
    """Multiples (rows, length) of random paths, within ±10."""
    return on_trellis(
        ScaledRows(3 * np.random.default_rng(seed).normal(size=(rows, length)).clip(-3, 3), None, None, 5)
    )


def test_the_nearest_value() -> None:
    old, new = np.array([0.0, 1.0, 2.5, -9.0, 0.5]), np.array([1.0, 0.0, 2.0, 2.0, 3.0], np.float32)
    assert nearest(old, new).tolist() == [1, 0, 2, 1, 1]  # 0.5 and 2.5 lie in the middle; the second 2 is never taken
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=9)
    assert nearest(a, b).tolist() == np.abs(a[:, None] - b).argmin(axis=1).tolist()


def test_the_specification_has_these_numbers() -> None:
    text = " ".join((Path(__file__).resolve().parents[2] / "formats" / "SPEC.md").read_text().split())
    chapter = text.split("## 12. Deltas")[1]
    assert f"n becomes min(n + 1, {RATE_LIMIT}), not 30" in chapter and f"setting (0 to {SETTINGS - 1})" in chapter
    assert f"its method: {REFERRED} referred, {WHOLE} whole, {DIFFERENCE} difference" in chapter


def test_levels_and_other_shapes(tmp_path: Path) -> None:
    """A tensor that the base has with other levels, another shape or another type is exact too."""
    from qacomp.formats import Level

    rng = np.random.default_rng(3)
    book, fine = np.linspace(-1, 1, 4, dtype=np.float32), rng.integers(0, 4, (30, 20)).astype(np.uint8)
    levels = (Level(np.array([-0.5, 0.5], np.float32), np.array([0, 0, 1, 1])),)
    moved = np.clip(fine + (rng.random(fine.shape) < 0.1), 0, 3).astype(np.uint8)
    forms: list[dict[str, Any]] = [
        {"w": SharedTensor(book, fine)},
        {"w": SharedTensor(book, moved, levels)},
        {"w": SharedTensor(book, fine, levels)},
        {"w": SharedTensor(book.astype(np.float64), fine[:10])},
        {"w": book[moved]},
        {"w": SharedTensor(np.array([-1, np.inf, 0, 1], np.float32), moved)},
    ]
    files = [saved(form, tmp_path) for form in forms]
    for old, new in itertools.permutations(files, 2):
        assert applied(old, made(old, new)) == new
