"""A folder by command line: compress, inspect, verify, diff and decode understand it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_folders import contents, small_folder
from range_server import range_server

Qacomp = Callable[..., Any]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "Tiny-1.5B")


def test_five_commands_understand_a_folder(qacomp: Qacomp, source: Path, tmp_path: Path) -> None:
    answer = qacomp("compress", source, "--k", "8", "--json")
    path = tmp_path / "Tiny-1.5B.qac"
    assert answer.code == 0 and Path(answer.json["output"]) == path and path.is_file()
    assert "2 files of weights and 6 other files" in answer.err
    shown = qacomp("inspect", path, "--json").json
    assert {t["name"] for t in shown["tensors"]} >= {"file/config.json", "model.norm.weight"}
    assert shown["meta"]["source"]["kind"] == "folder"
    assert "folder: 2 .safetensors and 6 other files" in qacomp("inspect", path).out
    assert qacomp("verify", path, "--source", source).code == 0
    assert "give the folder" in qacomp("verify", path, "--source", source / "config.json").err
    assert qacomp("decode", path, "-o", f"{tmp_path / 'back'}/").code == 0
    assert contents(tmp_path / "back").keys() == contents(source).keys()
    assert qacomp("decode", path, "--json").json["output"] == str(tmp_path / "Tiny-1.5B.decoded")
    refused = qacomp("decode", path, "-o", source, "-f")
    assert refused.code == 0  # the same files, so the folder may be replaced
    (source / "config.json").write_text("{}")
    qacomp("compress", source, "--k", "8", "-o", tmp_path / "b.qac")
    differences = qacomp("diff", path, tmp_path / "b.qac", "--json").json
    assert [t["name"] for t in differences["tensors"]] == ["file/config.json"]


def test_an_output_in_the_folder_is_not_carried(qacomp: Qacomp, source: Path) -> None:
    for _ in range(2):
        assert qacomp("compress", source, "--k", "8", "-o", source / "own.qac").code == 0
    assert qacomp("decode", source / "own.qac", "-o", source, "-f").code == 1
    assert (source / "own.qac").is_file() and (source / "config.json").is_file()


def test_a_file_is_no_output_for_a_folder(qacomp: Qacomp, source: Path, tmp_path: Path) -> None:
    qacomp("compress", source, "--k", "8", "-o", tmp_path / "m.qac")
    (tmp_path / "there").write_text("mine")
    answer = qacomp("decode", tmp_path / "m.qac", "-o", tmp_path / "there", "-f")
    assert answer.code == 1 and "is a file, but the container holds a folder" in answer.err
    assert qacomp("compress", source, "-o", source / "config.json").code == 1
    assert qacomp("compress", source, "-f", "-o", source / "config.json").code == 1


def test_a_folder_in_several_files(qacomp: Qacomp, tmp_path: Path) -> None:
    source = small_folder(tmp_path / "Tiny-1.5B")
    qacomp("compress", source, "--k", "64", "-o", tmp_path / "one.qac")
    for _ in range(2):  # an older container of the same name is replaced
        answer = qacomp("compress", source, "--k", "64", "--shard-size", "10KB")
        assert answer.code == 0
    index = tmp_path / "Tiny-1.5B.qac.index.json"
    shards = sorted(tmp_path.glob("Tiny-1.5B-*.qac"))
    assert len(shards) > 1 and index.is_file()
    for command in (("verify", index, "--source", source), ("inspect", index), ("decode", index)):
        assert qacomp(*command).code == 0
    assert contents(tmp_path / "Tiny-1.5B.decoded").keys() == contents(source).keys()
    assert qacomp("diff", index, tmp_path / "one.qac", "--exit-code").code == 0
    assert "give" in qacomp("decode", shards[0], "-o", tmp_path / "part").err
    shards[0].write_text("mine")
    assert qacomp("compress", source, "--k", "64", "--shard-size", "10KB").code == 1
    assert shards[0].read_text() == "mine"


@pytest.mark.parametrize(
    "given", [("--shard-size", "5"), ("--shard-size", "x"), ("--shard-size", "1MB", "--levels", "2,4")]
)
def test_a_size_of_shards_that_cannot_be(qacomp: Qacomp, source: Path, given: tuple[str, ...]) -> None:
    answer = qacomp("compress", source, *given)
    assert answer.code == 1 and ("size" in answer.err or "levels" in answer.err)
    assert {path.name for path in source.parent.iterdir()} == {source.name}


def test_commands_take_urls(qacomp: Qacomp, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with range_server(tmp_path) as server:
        (tmp_path / "w.safetensors").write_bytes((source / "model-00001-of-00002.safetensors").read_bytes())
        assert qacomp("compress", f"{server.url}/w.safetensors", "--k", "8").code == 0
        assert (tmp_path / "w.qac").is_file()  # in the current folder
        target = f"file://{tmp_path}/sent.qac"
        answer = qacomp("compress", source, "--k", "8", "-o", target, "--json")
        assert answer.code == 0 and answer.json["output"] == str(Path(target))
        url = f"{server.url}/sent.qac"
        assert qacomp("verify", url, "--source", f"file://{source}").code == 0
        assert qacomp("inspect", url).code == 0
        assert qacomp("diff", url, tmp_path / "sent.qac", "--exit-code").code == 0
        assert qacomp("decode", url, "-o", "back/").code == 0
        assert contents(tmp_path / "back").keys() == contents(source).keys()
        assert qacomp("decode", url).code == 0 and (tmp_path / "sent.decoded").is_dir()
        server.ranges = False
        for command in (("verify", url), ("inspect", url), ("decode", url, "-o", "b2/"), ("diff", url, url)):
            answer = qacomp(*command)
            assert answer.code == 1 and "sends no parts of files" in answer.err and answer.err.count("\n") == 1


BLOCKED = """
import sys
class Alone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "sklearn", "onnx", "onnxruntime", "PIL", "fsspec", "huggingface_hub"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Alone())
from qacomp.cli.main import main
for command in sys.argv[1:]:
    try:
        main(command.split("|"))
    except SystemExit as left:
        assert not left.code, command
"""


def test_the_reader_alone_gives_a_folder_back(qacomp: Qacomp, source: Path, tmp_path: Path) -> None:
    qacomp("compress", source, "--k", "8", "-o", tmp_path / "m.qac", "--shard-size", "10KB")
    index = tmp_path / "m.qac.index.json"
    commands = [f"decode|{index}|-o|{tmp_path / 'back'}", f"inspect|{index}", f"verify|{index}|--source|{source}"]
    done = subprocess.run([sys.executable, "-P", "-c", BLOCKED, *commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "back").keys() == contents(source).keys()
