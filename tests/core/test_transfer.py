"""Models by URL are fetched before they are compressed, and outputs are sent when they are whole."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from model_folders import contents, small_folder
from range_server import RangeServer, range_server
from torch import nn

import qacomp
from qacomp.errors import OutputExistsError, RemoteError
from qacomp.progress import SilentProgress
from qacomp.remote import open_file, verify_file
from qacomp.remote.transfer import fetched, sent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / "served").mkdir()
    with range_server(tmp_path / "served") as state:
        yield state


def test_a_folder_by_url_is_compressed_and_decoded_to_one(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    url = f"file://{tmp_path}"
    result = qacomp.compress(f"{url}/m", output=f"{url}/m.qac", k=16)
    local = qacomp.compress(source, k=16)
    assert (tmp_path / "m.qac").read_bytes() == local.output.read_bytes() == result.output.read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        qacomp.compress(f"{url}/m", output=f"{url}/m.qac", k=16)
    done = qacomp.decode(f"{url}/m.qac", f"{url}/back")
    assert contents(tmp_path / "back").keys() == contents(source).keys() and done.output.name == "back"
    verify_file(f"{url}/m.qac")
    assert not list(tmp_path.glob(".qacomp*"))


def test_shards_are_sent_with_their_index(tmp_path: Path) -> None:
    small_folder(tmp_path / "m")
    (tmp_path / "out").mkdir()
    qacomp.compress(tmp_path / "m", output=f"file://{tmp_path}/out/x.qac", k=64, shard_size=10_000)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"x.qac.index.json", *(f"x-0000{n}-of-00003.qac" for n in (1, 2, 3))}
    verify_file(tmp_path / "out" / "x.qac.index.json")


def test_memory_of_fsspec_holds_a_container(tmp_path: Path) -> None:
    import fsspec

    net = nn.Linear(200, 200)
    qacomp.compress(net.state_dict(), output="memory://box/net.qac", k=4)
    try:
        other = nn.Linear(200, 200)
        qacomp.torch.load_into(other, "memory://box/net.qac")
        assert torch.unique(other.weight).numel() == 4
        with open_file("memory://box/net.qac") as container:
            fsspec.filesystem("memory").pipe_file("/box/net.qac", b"changed")
            with pytest.raises(RemoteError, match="changed while it was read"):
                container.tensor("weight")
    finally:
        fsspec.filesystem("memory").rm("/box", recursive=True)


def test_a_model_by_https_is_fetched_whole(server: RangeServer, tmp_path: Path) -> None:
    torch.save({"w": torch.randn(40, 40)}, server.folder / "net.pt")
    server.ranges = False  # a whole file needs none
    result = qacomp.compress(f"{server.url}/net.pt", output=tmp_path / "net.qac", k=4)
    assert result.output == tmp_path / "net.qac"
    server.cut = 5
    with pytest.raises(RemoteError, match="the server sent"):
        qacomp.compress(f"{server.url}/net.pt", output=tmp_path / "b.qac", k=4)
    assert not (tmp_path / "b.qac").exists()
    with pytest.raises(RemoteError, match="can't be written to"):
        qacomp.compress(server.folder / "net.pt", output=f"{server.url}/x.qac")


def test_a_repository_of_hugging_face_is_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, object]] = []

    def snapshot(name: str, revision: str | None, ignore_patterns: list[str]) -> str:
        asked.append((name, revision))
        assert "pytorch_model*.bin" in ignore_patterns
        return str(small_folder(tmp_path / "m"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    for url in ("hf://org/name", "hf://org/name@v2"):
        with fetched(Path(url), SilentProgress()) as path:
            assert path == tmp_path / "m"
    assert asked == [("org/name", None), ("org/name", "v2")]


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    for url in (f"file://{tmp_path}/none", "memory://none/x.pt"):
        with pytest.raises(RemoteError, match="none") as caught, fetched(Path(url), SilentProgress()):
            pass
        assert "\n" not in str(caught.value)
        with pytest.raises(RemoteError, match="none"):
            open_file(url)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RemoteError, match=r"s3fs.*qacomp\[hub\]"):
        open_file("s3://bucket/m.qac")


def test_an_output_that_fails_sends_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.qac"
    with pytest.raises(KeyError), sent(Path(f"file://{target}")) as place:
        place.write_bytes(b"half")
        raise KeyError
    assert not target.exists() and os.listdir(tmp_path) == []


def test_a_packed_answer_is_refused(server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (server.folder / "w.pt").write_bytes(b"x")
    server.packed = True
    with pytest.raises(RemoteError, match="packs the file"):
        qacomp.compress(f"{server.url}/w.pt", output=tmp_path / "b.qac")
