"""Paths of carried files are hostile: nothing outside the folder is read or written, and each refusal names it."""

import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_folders import contents, small_folder, write_folder

import qacomp
from qacomp.errors import FormatError, NotACheckpointError, OutputExistsError, OutputNotWritableError, QacompError
from qacomp.folders.listing import list_folder
from qacomp.folders.paths import path_problem, paths_problem
from qacomp.formats import open_file, save_file

HOSTILE = [
    *("/etc/passwd", "../up", "a/../../up", "a/./b", "a//b", "", "a/", "C:/x", "c:x", "\\\\host\\share", "a\\..\\b"),
    *("con", "NUL.txt", "a/com1.json", "LPT¹", "aux .x", "x.", "x ", " x", "a\nb", "tab\t", "~\x00", "\x1b[2J", "x:y"),
    *("a\u202eb", ".git/hooks/post-checkout", ".GIT/config", "a/.gIt/x", "\udcff", "x" * 256, "a/" * 17 + "b"),
    *("é" * 600, "wh?t", "st*r"),
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_a_hostile_path_is_refused(path: str) -> None:
    assert path_problem(path) is not None


@pytest.mark.parametrize("path", ["config.json", "1_Pooling/config.json", ".gitattributes", "a b/ü (2).txt", "commit"])
def test_usual_paths_are_accepted(path: str) -> None:
    assert path_problem(path) is None


@given(st.text(st.characters(codec="utf-8"), max_size=12) | st.text("./\\:ab ", max_size=9))
def test_an_accepted_path_stays_below_its_folder_on_every_system(path: str) -> None:
    if path_problem(path) is None:
        assert not os.path.isabs(path) and os.path.normpath(f"/root/{path}") == f"/root/{path}"
        windows = PureWindowsPath("C:/root") / path
        assert windows.is_relative_to("C:/root") and ".." not in windows.parts
        assert not getattr(windows, "is_reserved", lambda: False)()


@pytest.mark.parametrize(
    "paths",
    [["a", "A"], ["x/a", "X/b"], ["a", "a/b"], ["a/b", "A"], ["straße", "STRASSE"], ["é", "e\u0301"], ["a", "a"]],
)
def test_names_that_some_system_takes_for_one_are_refused(paths: list[str]) -> None:
    assert paths_problem(paths) is not None


def forged(path: Path, files: dict[str, np.ndarray], weights: str = "m.safetensors") -> Path:
    """A container of a folder with these files, as no writer makes it."""
    held = {"file": weights, "tensors": 1, "prefix": "", "metadata": {}}
    tensors = {"w": np.zeros(3, np.float32)} | {f"file/{name}": data for name, data in files.items()}
    save_file(path, tensors, meta={"folder": {"weights": [held], "sha256": {}}})
    return path


@pytest.mark.parametrize("path", [path for path in HOSTILE if "\udcff" not in path], ids=ascii)
@pytest.mark.parametrize("weights", [False, True])
def test_a_container_with_a_hostile_path_writes_nothing(tmp_path: Path, path: str, weights: bool) -> None:
    box = tmp_path / "deep" / "box"
    box.mkdir(parents=True)
    if weights:
        forged(tmp_path / "h.qac", {}, path)
    else:
        forged(tmp_path / "h.qac", {path: np.zeros(3, np.uint8)})
    with pytest.raises(FormatError, match="its file") as caught:
        qacomp.decode(tmp_path / "h.qac", box / "out", force=True)
    assert "\n" not in ascii(str(caught.value)).replace("\\n", "")
    assert contents(tmp_path).keys() == {"h.qac"} and not list(box.iterdir())


@pytest.mark.parametrize(
    "data",
    [np.zeros((2, 2), np.uint8), np.zeros(3, np.int8), np.zeros(3, np.float32)],
    ids=["matrix", "int8", "float32"],
)
def test_a_file_that_is_not_bytes_is_refused(tmp_path: Path, data: np.ndarray) -> None:
    with pytest.raises(FormatError, match="isn't the bytes of a file"):
        qacomp.decode(forged(tmp_path / "h.qac", {"config.json": data}), tmp_path / "out")


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    forged(tmp_path / "h.qac", {f"f{n}": np.full(1, n % 256, np.uint8) for n in range(4200)})
    with pytest.raises(FormatError, match="more than 4096"):
        qacomp.decode(tmp_path / "h.qac", tmp_path / "out")


@pytest.mark.parametrize("count", [0, 2])
def test_tensors_that_are_not_those_of_the_files_are_refused(tmp_path: Path, count: int) -> None:
    held = {"file": "m.safetensors", "tensors": count, "prefix": "", "metadata": {}}
    save_file(tmp_path / "h.qac", {"w": np.zeros(3, np.float32)}, meta={"folder": {"weights": [held], "sha256": {}}})
    with pytest.raises(FormatError, match="tensors"):
        qacomp.decode(tmp_path / "h.qac", tmp_path / "out")


def test_a_forged_index_is_refused(tmp_path: Path) -> None:
    index = b'{"weight_map": {"w": "../../secret.safetensors"}}'
    forged(tmp_path / "h.qac", {"model.safetensors.index.json": np.frombuffer(index, np.uint8)})
    with pytest.raises(FormatError, match="doesn't hold it"):
        qacomp.decode(tmp_path / "h.qac", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_that_leaves_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    (tmp_path / "secret").write_text("x")
    (source / "harmless.txt").symlink_to("../secret")
    with pytest.raises(NotACheckpointError, match=r"harmless\.txt is a link to .*secret, outside"):
        list_folder(source)
    (source / "harmless.txt").unlink()
    (source / "again.json").symlink_to("config.json")
    assert "again.json" in list_folder(source).carried


def test_a_snapshot_of_the_hugging_face_cache_may_link_to_its_blobs(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "abc"
    made = small_folder(tmp_path / "m")
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, name in enumerate(["config.json", "model-00001-of-00002.safetensors"]):
        (made / name).rename(blobs / str(number))
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    assert list_folder(snapshot).paths == ["config.json", "model-00001-of-00002.safetensors"]


def test_a_pipe_in_the_folder_is_left_out(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    os.mkfifo(source / "pipe")
    assert list_folder(source).left_out == {"pipe": "not a regular file"}


@pytest.mark.parametrize("names", [("a.txt", "A.txt"), ("con", "b"), ("x.", "b")])
def test_a_folder_with_names_that_cannot_be_carried_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    source = write_folder(small_folder(tmp_path / "m"), {}, dict.fromkeys(names, b""))
    if len(list(source.glob("[aA].txt"))) == 1 and names[0] == "a.txt":
        pytest.skip("case doesn't count on this file system")
    with pytest.raises(NotACheckpointError, match="rename it"):
        list_folder(source)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Path]:
    qacomp.compress(small_folder(tmp_path / "m"), output=tmp_path / "m.qac", k=4)
    yield tmp_path / "m.qac"


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, container: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    qacomp.decode(container, out)  # an empty one is taken
    first = contents(out)
    with pytest.raises(OutputExistsError, match="has files in it"):
        qacomp.decode(container, out)
    (out / "config.json").write_text("changed")
    qacomp.decode(container, out, force=True)
    assert contents(out) == first
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(OutputNotWritableError, match=r"holds thesis\.tex"):
        qacomp.decode(container, out, force=True)
    assert contents(out) == first | {"thesis.tex": b"mine"}


def test_a_half_written_folder_never_stays(tmp_path: Path, container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qacomp.exporting import folder_output

    with open_file(container) as opened:
        assert opened.names

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_output, "write_atomically", full)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(OutputNotWritableError, match="out: can't be written"):
        qacomp.decode(container, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == before


ODD: list[Any] = [0, -1, 1.5, True, "x", [], [1], ["x"], [None], {}, {"a": 1}, {"a": "x"}, {"a": [1]}, 10**30, None]


@pytest.mark.parametrize("place", ["folder", "weights", "sha256", "entry", "file", "tensors", "prefix", "metadata"])
def test_no_metadata_of_a_folder_makes_decoding_crash(tmp_path: Path, place: str) -> None:
    """Each is decoded, or refused in one line; nothing is left behind."""
    for number, odd in enumerate(ODD):
        held: Any = {"file": "m.safetensors", "tensors": 1, "prefix": "", "metadata": {}}
        folder: Any = {"weights": [held], "sha256": {}}
        if place in held:
            held[place] = odd
        elif place == "entry":
            folder["weights"] = [odd]
        elif place == "folder":
            folder = odd
        else:
            folder[place] = odd
        path, out = tmp_path / f"{number}.qac", tmp_path / f"out{number}"
        save_file(path, {"w": np.zeros(3, np.float32)}, meta={"folder": folder})
        try:
            qacomp.decode(path, out)
        except QacompError as error:
            assert "\n" not in str(error) and not out.exists()
    assert {entry.name.rstrip("0123456789") for entry in tmp_path.iterdir()} <= {
        ".qac",
        "out",
        *(f"{n}.qac" for n in range(99)),
    }
