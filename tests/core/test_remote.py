"""Files by URL: only the bytes that are needed are fetched, and a server that misbehaves is one clear line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_folders import small_folder
from range_server import RangeServer, range_server

import qacomp
from qacomp.errors import ConfigError, QacompError, RemoteError
from qacomp.formats import Coding, FormatError, Level, ShardWriter, SharedTensor, save_file
from qacomp.formats.ranges import Ranges
from qacomp.remote import open_file, verify_file
from qacomp.remote.urls import url_name, url_of

QUICK = Coding(("bitpack",))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / "served").mkdir()
    with range_server(tmp_path / "served") as state:
        yield state


def large(path: Path) -> dict[str, SharedTensor]:
    """A container of three tensors of a million random indices, and small ones."""
    random = np.random.default_rng(0)
    tensors = {
        f"w{n}": SharedTensor(np.sort(random.standard_normal(256)).astype(np.float32), indices)
        for n, indices in enumerate(random.integers(0, 256, (3, 1 << 20)).astype(np.uint8))
    }
    small = {f"b{n}": np.full(9, n, np.float32) for n in range(40)}
    save_file(path, {**tensors, **small}, meta={"arch": "x"}, coding=QUICK)
    return tensors


def test_one_tensor_is_fetched_without_the_rest(server: RangeServer) -> None:
    tensors = large(server.folder / "m.qac")
    with open_file(f"{server.url}/m.qac") as container:
        assert len(container.names) == 43
        opened = server.sent
        own = container.info("w1").bytes
        assert own is not None  # its sections are its own, so the header tells
        assert np.array_equal(container.tensor("w1"), tensors["w1"].dense())
        assert server.sent <= 1.01 * own and opened < 10_000
        assert np.array_equal(container.tensor("b3"), np.full(9, 3, np.float32))
        assert server.sent <= 1.02 * own
        before = server.sent
        assert np.array_equal(container.rows("w1", 5, 9), tensors["w1"].dense()[5:9])
    assert len(server.requests) <= 6 and server.sent <= before + 1.01 * own


def test_one_level_is_fetched_without_the_finer_ones(server: RangeServer) -> None:
    random = np.random.default_rng(1)
    parents = np.repeat(np.arange(4), 64).astype(np.uint16)
    tensor = SharedTensor(
        np.sort(random.standard_normal(256)).astype(np.float32),
        random.integers(0, 256, 1 << 20).astype(np.uint8),
        (Level(np.arange(4, dtype=np.float32), parents),),
    )
    save_file(server.folder / "l.qac", {"w": tensor}, coding=QUICK)
    size = (server.folder / "l.qac").stat().st_size
    with open_file(f"{server.url}/l.qac") as container:
        level = max(s.offset + s.bytes for s in container.sections if s.level == 0)
        assert np.array_equal(container.tensor("w", level=0), tensor.at_level(0).dense())
    assert level < size / 3 and server.sent <= 1.01 * level + 10_000


class Counted:
    """A source that counts what is fetched."""

    name, size = "counted", 8 << 20

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.data = np.random.default_rng(0).bytes(self.size)

    def fetch(self, start: int, stop: int) -> bytes:
        self.calls.append((start, stop))
        return self.data[start:stop]


def test_small_sections_in_a_row_are_fetched_together() -> None:
    source = Counted()
    ranges = Ranges(source)
    for start in range(0, source.size, 1 << 14):
        assert ranges[start : start + (1 << 14)] == source.data[start : start + (1 << 14)]
    assert len(source.calls) < 20 and sum(b - a for a, b in source.calls) < 1.01 * source.size


@given(st.lists(st.tuples(st.integers(0, 8 << 20), st.integers(0, 1 << 19)), max_size=20))
def test_any_slices_are_those_of_the_bytes(places: list[tuple[int, int]]) -> None:
    source = Counted()
    ranges = Ranges(source)
    for start, length in places:
        assert bytes(ranges[start : start + length]) == source.data[start : start + length]
    assert len(source.calls) <= len(places) + 1


def test_shards_by_url_are_opened_when_they_are_needed(server: RangeServer) -> None:
    with ShardWriter(server.folder / "m.qac", 20_000) as writer:
        for number in range(6):
            writer.add(f"t{number}", np.random.default_rng(number).standard_normal(4000).astype(np.float32))
    with open_file(f"{server.url}/m.qac.index.json") as container:
        assert container.tensor("t4").size == 4000
        assert {path for path, _ in server.requests} == {"/m.qac.index.json", "/m-00005-of-00006.qac"}
    assert len(verify_file(f"{server.url}/m.qac.index.json").tensors) == 6


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"ranges": False}, "sends no parts of files"),
        ({"cut": 7}, "sent 1,|the server sent"),
        ({"wrong": True}, "sent other bytes"),
        ({"status": 500}, "answers 500"),
        ({"status": 403}, "answers 403"),
    ],
    ids=str,
)
def test_a_server_that_misbehaves_is_one_line(server: RangeServer, how: dict[str, int], said: str) -> None:
    large(server.folder / "m.qac")
    for name, value in how.items():
        setattr(server, name, value)
    with pytest.raises(RemoteError, match=said) as caught, open_file(f"{server.url}/m.qac") as container:
        container.tensor("w1")
    assert f"{server.url}/m.qac" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changes_while_it_is_read_is_an_error(server: RangeServer, etag: bool) -> None:
    path, server.etag = server.folder / "m.qac", etag
    large(path)
    with open_file(f"{server.url}/m.qac") as container:
        container.tensor("w0")
        path.write_bytes(path.read_bytes()[: -1 if not etag else None][::-1])
        with pytest.raises(RemoteError, match="changed on the server"):
            container.tensor("w1")


def test_a_file_that_is_gone_or_a_server_that_is_not_there(server: RangeServer, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="answers 404"):
        open_file(f"{server.url}/none.qac")
    with pytest.raises(RemoteError, match="can't be reached"):
        open_file("http://127.0.0.1:9/none.qac")
    (server.folder / "page.qac").write_text("<html>")
    with pytest.raises(FormatError, match=r"not a \.qac container"):
        open_file(f"{server.url}/page.qac")


def test_redirects_are_followed_to_web_servers_alone(server: RangeServer, tmp_path: Path) -> None:
    save_file(server.folder / "m.qac", {"a": np.zeros(3, np.float32)})
    server.moved = {"/there": f"{server.url}/m.qac", "/file": f"file://{tmp_path}/served/m.qac", "/ftp": "ftp://x/m"}
    with open_file(f"{server.url}/there") as container:
        assert container.names == ("a",)
    for path in ("/file", "/ftp"):
        with pytest.raises(RemoteError, match=r"isn't followed|answers 302"):
            open_file(server.url + path)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("https://a.b/c/d.qac", "https://a.b/c/d.qac"), (Path("https://a.b/c/d.qac"), "https://a.b/c/d.qac"),
        ("hf://org/name", "hf://org/name"), (Path("s3://bucket/key"), "s3://bucket/key"),
        ("file:///tmp/x", "file:///tmp/x"), (Path("memory://x/y"), "memory:///x/y"),
        ("model.qac", None), ("a:b/c", None), (Path("/tmp/x"), None), ("C:/models/x", None), (5, None), (None, None),
    ],
)  # fmt: skip
def test_urls_and_paths_are_told_apart(path: object, url: str | None) -> None:
    assert url_of(path) == url


@pytest.mark.parametrize("url", ["ftp://a/b", "github://a/b", "s3://a/b::https://c", "ssh://x/y"])
def test_other_schemes_and_chains_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="URLs begin with"):
        url_of(url)


def test_a_name_of_a_url() -> None:
    assert url_name("https://a/b/m.qac?download=true") == "m.qac" and url_name("hf://org/name/") == "name"


def test_a_url_inside_a_file_is_not_opened(server: RangeServer, tmp_path: Path) -> None:
    save_file(server.folder / "m-00001-of-00001.qac", {"a": np.zeros(3, np.float32)})
    with ShardWriter(tmp_path / "m.qac", 10_000) as writer:
        writer.add("a", np.zeros(3, np.float32))
    index = tmp_path / "m.qac.index.json"
    for name in (f"{server.url}/m-00001-of-00001.qac", "//127.0.0.1/m.qac", "http:m.qac"):
        changed = index.read_text().replace("m-00001-of-00001.qac", name)
        (tmp_path / "h.qac.index.json").write_text(changed)
        with pytest.raises(FormatError, match="no container beside it"):
            open_file(tmp_path / "h.qac.index.json")
    source = small_folder(tmp_path / "f")
    (source / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"w": "{server.url}/w.safetensors"}}}}')
    with pytest.raises(QacompError, match="there is no file"):
        qacomp.compress(source, output=tmp_path / "f.qac")
    assert server.requests == []
