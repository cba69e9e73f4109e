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
