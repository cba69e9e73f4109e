"""Indices of a few small tensors: in one section or each in its own, whichever is smaller; read alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.formats import Coding, FormatError, Level, SharedTensor, index_groups, open_file, save_file, verify_file

BOOK = np.arange(16, dtype=np.float32)


def uneven(shape: tuple[int, int], seed: int, gain: float = 60) -> SharedTensor:
    """Indices of weights whose rows and columns differ much in size; the smaller the gain, the more are zero."""
    rng = np.random.default_rng(seed)
    size = rng.random((shape[0], 1)) ** 4 * rng.random((1, shape[1])) ** 4
    weights = rng.standard_normal(shape) * size * gain
    return SharedTensor(BOOK, np.clip(np.rint(weights) + 8, 0, 15).astype(np.uint8))


def sections(path: Path) -> list[tuple[int, tuple[str, ...]]]:
    with open_file(path) as container:
        return [
            (section.bytes, section.tensors)
            for section in container.sections
            if section.kind == "indices" and section.tensors
        ]


def test_short_streams_after_a_long_one_have_sections_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = Coding(codecs=("rans", "context", "raw", "planes"))  # the codec pruned would take the empty rows away
    tensors = {"long": uneven((150, 300), 1, 8), "short": uneven((30, 60), 2), "shorter": uneven((20, 50), 3)}
    apart = save_file(tmp_path / "a.qac", tensors, coding=learnt)
    assert [names for _, names in sections(tmp_path / "a.qac")] == [("long",), ("short",), ("shorter",)]
    save_file(tmp_path / "b.qac", tensors, coding=learnt)
    assert (tmp_path / "a.qac").read_bytes() == (tmp_path / "b.qac").read_bytes()
    monkeypatch.setattr(index_groups, "_MOST_MEMBERS", 0)
    joint = save_file(tmp_path / "c.qac", tensors, coding=learnt)
    assert len(sections(tmp_path / "c.qac")) == 1 and apart.container_bytes < joint.container_bytes
    for name in ("a.qac", "c.qac"):
        verify_file(tmp_path / name)
        with open_file(tmp_path / name) as container:
            assert all(np.array_equal(container.shared(n).indices, t.indices) for n, t in tensors.items())


def test_levels_and_dense_tensors_beside_sections_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_groups, "_SECTION_BYTES", -1000)  # so that each tensor is by itself
    coarse = Level(np.array([4, 12], np.float32), np.repeat([0, 1], [8, 8]))
    nested = SharedTensor(BOOK, uneven((9, 11), 4).indices, (coarse,))
    tensors: dict[str, Any] = {
        "a": uneven((5, 6), 5),
        "bias": np.ones(3, np.float32),
        "b": nested,
        "empty": uneven((0, 4), 6),
    }
    save_file(tmp_path / "a.qac", tensors)
    assert [names for _, names in sections(tmp_path / "a.qac")] == [("a",), ("b",), ("empty",), ("b",)]
    data = (tmp_path / "a.qac").read_bytes()
    verify_file(data)
    with open_file(data) as container:
        assert np.array_equal(container.shared("b").indices, nested.indices)
        assert np.array_equal(container.tensor("b", level=0), coarse.codebook[nested.at_level(0).indices])
        assert (
            container.tensor("empty").shape == (0, 4)
            and container.tensor("a").tolist() == tensors["a"].dense().tolist()
        )
    for place in range(len(data)):
        with pytest.raises(FormatError):
            verify_file(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])


def test_indices_that_one_section_holds_best_share_it(tmp_path: Path) -> None:
    tensors = {name: uneven((4, 5), seed) for seed, name in enumerate("abc")}
    save_file(tmp_path / "a.qac", tensors)
    assert [names for _, names in sections(tmp_path / "a.qac")] == [("a", "b", "c")]
