"""The folder of the page: what is in it, what the page may do, and what is refused."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from page_model import write_digits
from pages import HOSTILE, Outline

from qacomp.cli.main import cli, main
from qacomp.errors import ConfigError, OutputExistsError, OutputIsInputError
from qacomp.page import write_page
from qacomp.page.policy import POLICY, policy

WEB = Path(__file__).resolve().parents[2] / "qacomp" / "page" / "web"


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("page") / "digits.qac")


@pytest.fixture
def ort(tmp_path: Path) -> Path:
    """A folder with the files of the npm packages, without what is in them."""
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    names = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm", "../fzstd/esm/index.mjs")
    for name in names:
        path = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_the_folder_holds_everything(container: Path, ort: Path, tmp_path: Path) -> None:
    made = write_page(container, tmp_path / "site", ort)
    found = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert found == set(made.files) and made.runs and made.notes == ()
    wanted = {"index.html", "main.js", "worker.js", "page.css", "report.css", "icon.svg", "config.json", "model.qac"}
    wanted |= {"reader/index.js", "reader/codecs/index.js", "reader/onnx/model.js", "fzstd/index.mjs"}
    assert wanted | {"ort/ort.wasm.bundle.min.mjs", "ort/ort-wasm-simd-threaded.wasm"} <= found
    assert not [name for name in found if "test" in name or "node_modules" in name or name.endswith(".d.ts")]
    assert (tmp_path / "site" / "model.qac").read_bytes() == container.read_bytes()
    told = json.loads((tmp_path / "site" / "config.json").read_text())
    assert told == {
        "file": "model.qac",
        "name": "digits.qac",
        "bytes": container.stat().st_size,
        "runtime": True,
        "zstd": True,
    }
    assert made.bytes == sum((tmp_path / "site" / name).stat().st_size for name in made.files)


def test_every_module_that_is_imported_is_in_the_folder(container: Path, ort: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_page(container, site, ort)
    modules = list(site.rglob("*.js"))
    for module in modules:
        for name in re.findall(r"""(?:from|import\()\s*["'](\.[^"']+)["']""", module.read_text(encoding="utf-8")):
            assert (module.parent / name).is_file(), (module.name, name)
    assert len(modules) > 40


def test_the_page_runs_and_loads_nothing_but_its_own(container: Path, tmp_path: Path) -> None:
    write_page(container, tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    tags = Outline(text.replace("<!DOCTYPE html>", "")).tags
    (meta,) = [attributes for tag, attributes in tags if attributes.get("http-equiv")]
    assert meta["content"] == policy() and POLICY["default-src"] == "'none'"
    assert POLICY["script-src"] == "'self' 'wasm-unsafe-eval'" and POLICY["style-src"] == "'self'"
    assert "unsafe-inline" not in policy() and "http" not in policy() and "data:" not in policy()
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href"):
            assert (value := attributes.get(name)) is None or (tmp_path / "site" / value).is_file()
    assert tags and not [1 for tag, attributes in tags if tag == "script" and not attributes.get("src")]


def test_names_become_text_only() -> None:
    """No module makes markup out of text, or code."""
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(.style"
    for path in WEB.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(banned, text), path.name
        assert (
            len(text.splitlines()) <= 300
            and "http:" not in text
            and "https:" not in re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        )
    assert len((WEB / "page.css").read_text().splitlines()) <= 300


def test_a_hostile_name_is_a_string_of_the_settings(container: Path, tmp_path: Path) -> None:
    name = HOSTILE.replace("\x00", "").replace("/", "") + "\n.qac"
    hostile = tmp_path / name
    hostile.write_bytes(container.read_bytes())
    write_page(hostile, tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.html"):
        assert "alert(1)" not in path.read_text(encoding="utf-8")
    told = json.loads((tmp_path / "site" / "config.json").read_text())
    assert told["name"].isprintable() and "alert(1)" in told["name"] and told["file"] == "model.qac"


def test_without_onnxruntime_the_page_still_shows(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main_code(["page", str(container), "-o", "site", "--json"], 0)
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert (
        not made["runs"]
        and "npm install onnxruntime-web" in made["notes"][0]
        and err.startswith("note: onnxruntime-web")
    )
    assert json.loads(Path("site/config.json").read_text())["runtime"] is False


def test_node_modules_beside_the_working_directory_are_found(
    container: Path, ort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ort.parents[1])
    assert write_page(container, tmp_path / "site").runs


def main_code(arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == code


@pytest.mark.parametrize("command", [["page", "-o", "site"], ["serve", "--port", "0"]])
@pytest.mark.parametrize("damage", ["no container", "cut", "damaged", "missing", "folder"])
def test_bad_files_are_one_line(
    container: Path,
    tmp_path: Path,
    command: list[str],
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data, path = container.read_bytes(), tmp_path / "bad.qac"
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"no container": b"PK" * 99, "cut": data[:-9], "damaged": flipped}[damage])
    main_code([command[0], "bad.qac", *command[1:]], 1)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("qacomp: error: bad.qac") and len(err.splitlines()) == 1, err
    assert not (tmp_path / "site").exists()


def test_what_can_t_be_written_is_refused(container: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "mine.txt").write_text("kept")
    with pytest.raises(OutputExistsError):
        write_page(container, site)
    (site / "in.qac").write_bytes(container.read_bytes())
    with pytest.raises(OutputIsInputError):
        write_page(site / "in.qac", site, force=True)
    with pytest.raises(ConfigError, match="has no dist/ort"):
        write_page(container, tmp_path / "other", tmp_path)
    assert (site / "mine.txt").read_text() == "kept" and not (tmp_path / "other").exists()
    write_page(container, site, force=True)
    assert not (site / "mine.txt").exists()


def test_help_says_how_to_get_onnxruntime() -> None:
    for command in ("page", "serve"):
        assert "npm install onnxruntime-web" in CliRunner().invoke(cli, [command, "--help"]).output
