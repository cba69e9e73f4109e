"""Check the bytes that each tensor is told to have: parts of a section by what its tensors take, all of it together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.formats import Coding, Level, SharedTensor, TensorInfo, index_groups, open_file, save_file, verify_file

BOOK = np.linspace(-1, 1, 16, dtype=np.float32)
COARSE = Level(np.array([-0.5, 0.5], np.float32), np.repeat([0, 1], [8, 8]))


def uneven(shape: tuple[int, ...], share: float, seed: int, *levels: Level) -> SharedTensor:
    """Indices of which this share is drawn evenly, and all others are 3: from 0 to 4 bits of entropy."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, 16, shape).astype(np.uint8)
    return SharedTensor(BOOK, np.where(random.random(shape) < share, drawn, np.uint8(3)), levels)


def told(path: Path) -> dict[str, TensorInfo]:
    """Each tensor of a file, measured; they have all bytes of the sections, and `verify` tells the same."""
    with open_file(path) as container:
        found = {name: container.measured(name) for name in container.names}
        inside = sum(s.bytes for s in container.sections if s.tensors)
        known = [container.info(name) for name in container.names]
        assert all(info in (found[info.name], unknown(found[info.name])) for info in known)
    assert sum(size(info) for info in found.values()) == inside
    assert verify_file(path).tensors == tuple(found.values())
    return found


def unknown(info: TensorInfo) -> TensorInfo:
    return TensorInfo(**{**vars(info), "bytes": None, "bits_per_weight": None})


def size(info: TensorInfo) -> int:
    assert info.bytes is not None and info.bits_per_weight == 8 * info.bytes / max(info.values, 1)
    return info.bytes


@pytest.mark.parametrize("codec", ["rans", "context", "zstd"])
def test_tensors_of_one_section_have_bytes_by_their_entropy(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_groups, "_MOST_MEMBERS", 0)  # all in one section
    tensors = {name: uneven((80, 100), share, 0) for name, share in (("full", 1), ("few", 0.1), ("one", 0))}
    coding = Coding(codecs=(codec, "raw", "planes"))
    report = save_file(tmp_path / "a.qac", tensors, coding=coding)
    found = told(tmp_path / "a.qac")
    assert {t.codec for t in report.tensors} == {codec}
    assert [t.bytes for t in report.tensors] == [size(info) for info in found.values()]
    alone = {n: size(told_alone(tmp_path / "b.qac", t, coding)) for n, t in tensors.items()}
    for name in ("full", "few"):
        assert size(found[name]) == pytest.approx(alone[name], rel=0.15 if codec != "zstd" else 0.4), name
    assert size(found["one"]) < 0.02 * size(found["full"])
    with open_file(tmp_path / "a.qac") as container:
        assert [container.info(name).bytes for name in tensors] == [None] * 3  # the header doesn't tell


def told_alone(path: Path, tensor: SharedTensor, coding: Coding) -> TensorInfo:
    save_file(path, {"w": tensor}, coding=coding)
    return told(path)["w"]


@pytest.mark.parametrize("codec", ["raw", "bitpack"])
def test_the_header_tells_bytes_of_indices_of_one_width(tmp_path: Path, codec: str) -> None:
    wide = SharedTensor(np.arange(300, dtype=np.float32), np.zeros((11, 11), np.uint16))
    save_file(tmp_path / "a.qac", {"a": uneven((11, 11), 0.1, 0), "b": wide}, coding=Coding((codec, "planes")))
    found = told(tmp_path / "a.qac")
    with open_file(tmp_path / "a.qac") as container:
        assert container.info("a") == found["a"] and container.info("b") == found["b"]
        (values,) = (s.bytes for s in container.sections if s.kind == "values")
    own = {"raw": (121, 242), "bitpack": (61, 137)}[codec]  # 121 indices of 8 and 16, or 4 and 9 bits
    assert size(found["a"]) == own[0] + round(values * 16 / 316) and sum(own) + values == sum(map(size, found.values()))


def test_grids_have_bytes_by_their_number(tmp_path: Path) -> None:
    even = (np.arange(1000).reshape(20, 50) % 200).astype(np.uint8)

    def grid(k: int) -> SharedTensor:
        scales = np.random.default_rng(k).random((20, 1)).astype(np.float32)
        return SharedTensor(np.arange(-1, k - 1, dtype=np.float32) * scales[..., None], even % k, blocks=(1, 50))

    save_file(tmp_path / "a.qac", {"a": grid(4), "b": grid(200)}, coding=Coding(("raw", "planes", "grids")))
    found = told(tmp_path / "a.qac")
    with open_file(tmp_path / "a.qac") as container:
        assert {s.codec for s in container.sections if s.tensors} == {"raw", "grids"}
    assert abs(size(found["a"]) - size(found["b"])) <= 1  # both have 20 scales and zero points


def test_a_finer_level_has_bytes_by_what_it_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_groups, "_MOST_MEMBERS", 0)
    fine = SharedTensor(BOOK, uneven((60, 90), 1, 1).indices % 8, (COARSE,))  # all of one coarse index
    coarse = SharedTensor(BOOK, uneven((60, 90), 1, 2).indices // 8 * 8, (COARSE,))  # all finer ones follow from it
    report = save_file(tmp_path / "a.qac", {"fine": fine, "coarse": coarse}, coding=Coding(("rans", "planes")))
    found = told(tmp_path / "a.qac")
    assert [t.bytes for t in report.tensors] == [size(info) for info in found.values()]
    assert found["fine"].bits_per_weight == pytest.approx(3, rel=0.1)
    assert found["coarse"].bits_per_weight == pytest.approx(1, rel=0.15)
    with open_file(tmp_path / "a.qac") as container:
        end = max(s.offset + s.bytes for s in container.sections if s.level == 0)
    with open_file((tmp_path / "a.qac").read_bytes()[:end], allow_truncated=True) as container:
        assert container.measured("fine").bytes is None  # its finer indices aren't there


@given(data=st.data(), seed=st.integers(0, 1 << 20))
@settings(max_examples=25, deadline=None)
def test_writer_and_reader_tell_the_same_of_any_file(
    data: st.DataObject, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.qac"
    kinds = st.sampled_from(("dense", "shared", "nested", "same"))
    tensors: dict[str, SharedTensor | NDArray[Any]] = {}
    for n, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=12))):
        shape = data.draw(st.tuples(st.integers(0, 9), st.integers(1, 40)))
        tensor: SharedTensor | NDArray[Any] = uneven(shape, data.draw(st.sampled_from((0, 0.2, 1))), seed + n)
        if kind == "dense":
            tensor = np.random.default_rng(seed + n).standard_normal(shape).astype(np.float32)
        elif kind == "nested":
            tensor = SharedTensor(BOOK, uneven(shape, 0.7, seed).indices, (COARSE,))
        elif kind == "same" and tensors:
            tensor = tensors["0"]
        tensors[str(n)] = tensor
    codecs = data.draw(st.sampled_from((None, ("raw",), ("bitpack", "planes"), ("rans", "planes", "raw"))))
    chunk_log2 = data.draw(st.sampled_from((5, 22)))  # small chunks: tensors with sections of their own
    report = save_file(path, tensors, coding=Coding(codecs, chunk_log2=chunk_log2))
    assert [t.bytes for t in report.tensors] == [size(info) for info in told(path).values()]
