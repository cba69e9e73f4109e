"""What a benchmark's result says of the code that it measured."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/result.py, looking at a checkout of its own."""
    spec = importlib.util.spec_from_file_location("result", ROOT / "benchmarks" / "result.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "result", module)
    spec.loader.exec_module(module)
    for folder in ("formats", "qacomp", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_the_code_outlives_the_commits_name(result: ModuleType, tmp_path: Path) -> None:
    commit, code = result.commit(), result.code()
    (tmp_path / "docs" / "a.py").write_text("two\n")
    git(tmp_path, "commit", "-qa", "--amend", "-m", "second")
    assert result.commit() != commit and result.code() == code
    (tmp_path / "formats" / "a.py").write_text("two\n")
    assert result.commit().endswith("+")
    assert result.code() == {"formats": code["formats"] + "+", "qacomp": code["qacomp"]}


def test_rows_that_are_not_made_anew_stay(result: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    first = [result.Row(name, "", results={"bytes": 1}) for name in ("a", "b", "c")]
    figures = {f"{row.name}_bytes": result.Headline(1.0, "bytes", "<= 1", "") for row in first}
    result.write(path, result.document("suite", {"seeds": 3}, first, figures))
    (tmp_path / "formats" / "a.py").write_text("two\n")
    anew = result.document(
        *("suite", {"seeds": 1}, [result.Row("b", "", results={"bytes": 2})]),
        {"b_bytes": result.Headline(2.0, "bytes", "<= 1", "")},
    )
    joined = result.with_earlier(path, anew)
    assert [row["results"]["bytes"] for row in joined["rows"]] == [1, 2, 1]
    assert [row["made"]["settings"]["seeds"] for row in joined["rows"]] == [3, 1, 3]
    assert [row["made"]["commit"].endswith("+") for row in joined["rows"]] == [False, True, False]
    assert {key: headline["value"] for key, headline in joined["headlines"].items()} == {
        "a_bytes": 1.0,
        "b_bytes": 2.0,
        "c_bytes": 1.0,
    }
    assert result.with_earlier(tmp_path / "none.json", anew) == anew


def test_rows_of_older_documents_say_what_they_were_made_with(result: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    old = result.document("suite", {"seeds": 3}, [result.Row("a", "")], {})
    del old["rows"][0]["made"]
    result.write(path, {**old, "commit": "1234567"})
    joined = result.with_earlier(path, result.document("suite", {"seeds": 1}, [result.Row("b", "")], {}))
    assert [row["made"]["commit"] for row in joined["rows"]] == ["1234567", joined["commit"]]
