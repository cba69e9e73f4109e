"""A container in several files is read as one, and a shard is never larger than asked unless it holds one tensor."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qacomp.formats import FormatError, ShardWriter, SharedTensor, UnsupportedTensorError, open_file, verify_file
from qacomp.formats.shard_index import index_path, read_shard_index, shard_name

KB = 1000


def tensor(size: int, k: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    if k == 0:
        return random.standard_normal(size).astype(np.float32)
    if k == 1:
        return random.integers(0, 256, size).astype(np.uint8)
    return SharedTensor(random.standard_normal(k).astype(np.float32), random.integers(0, k, size).astype(np.uint8))


def dense(value: Any) -> Any:
    return value.dense() if isinstance(value, SharedTensor) else value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.sampled_from([0, 1, 2, 16, 256])), max_size=12),
    st.integers(10 * KB, 60 * KB),
)
@settings(max_examples=12)
def test_all_tensors_come_back_and_shards_stay_small(folder: Path, kinds: list[tuple[int, int]], most: int) -> None:
    tensors = {f"t{n}": tensor(size, k, n) for n, (size, k) in enumerate(kinds)}
    with ShardWriter(folder / "m.qac", most, meta={"a": 1}, graph=b"g") as writer:
        for name, value in tensors.items():
            writer.add(name, value)
    index = folder / "m.qac.index.json"
    shards = read_shard_index(index).shards
    files = [folder / shard.file for shard in shards]
    assert sorted(folder.iterdir()) == sorted([index, *files])  # those of the last example are gone
    assert all(f.stat().st_size <= most or len(s.tensors) == 1 for f, s in zip(files, shards, strict=True))
    assert writer.report is not None
    assert writer.report.container_bytes == sum(path.stat().st_size for path in folder.iterdir())
    with open_file(index) as container:
        assert list(container.names) == list(tensors) and container.meta == {"a": 1} and container.graph() == b"g"
        assert container.size == writer.report.container_bytes
        assert [r.name for r in writer.report.tensors] == list(tensors)
        for name, value in tensors.items():
            assert np.array_equal(container.tensor(name), dense(value))
            assert container.info(name).values == dense(value).size
            assert np.array_equal(container.rows(name, 1, 3), dense(value)[1:3])
    assert len(verify_file(index).tensors) == len(tensors)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "m.qac", 10 * KB) as writer:
        for number in range(6):
            writer.add(f"t{number}", tensor(2000, 0, number))
    return tmp_path / "m.qac.index.json"


def test_a_shard_is_opened_when_it_is_needed(index: Path) -> None:
    shards = read_shard_index(index).shards
    assert len(shards) == 6
    for shard in shards[2:]:
        index.with_name(shard.file).unlink()
    with open_file(index) as container:
        assert np.array_equal(container.tensor("t1"), tensor(2000, 0, 1))
        with pytest.raises(FileNotFoundError):
            container.tensor("t5")


def test_a_shard_of_another_container_is_refused(index: Path, tmp_path: Path) -> None:
    first, second, *_ = read_shard_index(index).shards
    index.with_name(first.file).write_bytes(index.with_name(second.file).read_bytes())
    with open_file(index) as container, pytest.raises(FormatError, match="isn't the shard that"):
        container.tensor("t0")


def test_a_shard_that_is_cut_off_is_refused(index: Path) -> None:
    path = index.with_name(read_shard_index(index).shards[0].file)
    path.write_bytes(path.read_bytes()[:-5])
    with open_file(index) as container, pytest.raises(FormatError, match="fetch the file again"):
        container.tensor("t0")


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../m.qac"}, {"file": "/etc/x.qac"}, {"file": "a\\b.qac"}, {"file": "c:x.qac"}, {"file": "passwd"},
        {"file": 5}, {"bytes": -1}, {"bytes": "5"}, {"bytes": True}, {"crc32": 1.5}, {"tensors": [1]}, {"tensors": 3},
        {"tensors": ["t1"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_hostile_index_is_refused(index: Path, change: dict[str, Any]) -> None:
    told = json.loads(index.read_text())
    told["shards"][0] |= change
    index.write_text(json.dumps(told))
    with pytest.raises(FormatError) as caught:
        open_file(index)
    assert str(index) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format":"qacomp shards","version":2,"shards":[]}', '{"shards":[{}]}', "\udcff", "{" * 999],
)
def test_text_that_is_no_index_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.qac.index.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FormatError, match=r"x\.qac\.index\.json"):
        open_file(path)


def test_an_error_leaves_nothing_and_keeps_what_was_there(index: Path) -> None:
    before = {path.name: path.read_bytes() for path in index.parent.iterdir()}
    with pytest.raises(UnsupportedTensorError), ShardWriter(index, 10 * KB) as writer:
        writer.add("a", np.zeros(9000, np.float32))
        writer.add("b", np.zeros(2, np.dtype("M8[s]")))
    assert {path.name: path.read_bytes() for path in index.parent.iterdir()} == before


def test_names_of_an_index_and_its_shards(tmp_path: Path) -> None:
    assert index_path(Path("a/m.qac")) == Path("a/m.qac.index.json") == index_path(Path("a/m"))
    assert index_path(Path("a/m.qac.index.json")) == Path("a/m.qac.index.json")
    assert shard_name(Path("a/m[1].qac.index.json"), 2, 3) == "m[1]-00002-of-00003.qac"
