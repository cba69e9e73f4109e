"""What several tests of the core share."""

import importlib.util
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from qacomp.cli.main import main
from qacomp.datasets import Dataset, load_dataset


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The functions of small_models.py: networks of the shapes that people compress. Tests are no package."""
    path = Path(__file__).with_name("small_models.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_printed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Sequence[tuple[str, str]]], str]:
    """Run a page's (language, code) blocks in this process, in `tmp_path`; what they write to stdout comes back.

    Blocks of one call share their Python names. Commands are those of qacomp alone, without the shell's operators.
    """
    monkeypatch.chdir(tmp_path)

    def run(parts: Sequence[tuple[str, str]]) -> str:
        capfd.readouterr()
        names: dict[str, object] = {"__name__": "__main__"}
        for language, code in parts:
            if language == "python":
                exec(compile(code, "<printed>", "exec"), names)
                continue
            for line in code.splitlines():
                command, *arguments = shlex.split(line)
                assert command == "qacomp" and not set("|&;<>$`*?#") & set(line), line
                with pytest.raises(SystemExit) as left:
                    main(arguments)
                assert left.value.code == 0, f"{line}: {capfd.readouterr().err}"
        return capfd.readouterr().out

    return run


@pytest.fixture
def run_script(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., str]:
    """Run a Python file in this process with arguments, in `tmp_path`; what it writes to stdout comes back."""
    monkeypatch.chdir(tmp_path)

    def run(script: Path, *arguments: str | Path) -> str:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capfd.readouterr().out

    return run
