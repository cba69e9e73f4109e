"""An installed decoder is used without being asked for, if it is of these sources, and gives the same values."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import GOLDEN

from qacomp.formats import native_installed as installed
from qacomp.formats import native_sections as native
from qacomp.formats import verify_file
from qacomp.formats.native_library import library

FILES = sorted(GOLDEN.glob("*.qac"))


@pytest.fixture
def package(c_decoder: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of qacomp-native, with the library that the tests compile."""
    monkeypatch.delenv(native.VARIABLE, raising=False)
    folder = tmp_path / installed.PACKAGE
    folder.mkdir()
    compiled = max((tmp_path.parent.parent / "compiled" / "qacomp").glob("*.so"), default=None)
    if compiled is None:  # with workers of pytest-xdist
        compiled = max((tmp_path.parent.parent.parent / "compiled" / "qacomp").glob("*.so"))
    shutil.copyfile(compiled, folder / installed.LIBRARY)
    (folder / installed.DIGEST).write_text(installed.sources_digest() + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed.installed.cache_clear()
    library.cache_clear()
    yield folder
    installed.installed.cache_clear()
    library.cache_clear()


def test_the_installed_decoder_is_used(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed.installed() == package / installed.LIBRARY
    assert native.native_wanted() and native.reader() == "C (qacomp-native)"
    used: list[int] = []
    inner = native.decode_native

    def counted(codec: int, *rest: object) -> object:
        found = inner(codec, *rest)  # type: ignore[arg-type]
        used.extend([codec] * (found is not None))
        return found

    monkeypatch.setattr("qacomp.formats.sections.decode_native", counted)
    monkeypatch.setenv("CC", "/nowhere/cc")  # nothing is compiled
    for path in FILES:
        verify_file(path)
    assert {2, 3, 4, 12} <= set(used)
    monkeypatch.setenv(native.VARIABLE, "0")
    assert not native.native_wanted() and native.reader() == "numpy"


@pytest.mark.parametrize("broken", [installed.DIGEST, installed.LIBRARY])
def test_one_of_other_sources_or_that_cannot_be_loaded_is_left_alone(package: Path, broken: str) -> None:
    (package / broken).write_text("0" * 64)
    assert installed.installed() is None
    assert not native.native_wanted() and native.reader() == "numpy"
    verify_file(FILES[0])


def test_one_in_the_working_folder_is_left_alone(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have come with a model, and `python -m` looks there."""
    monkeypatch.chdir(package.parent)
    assert installed.installed() is None
    assert not native.native_wanted() and native.reader() == "numpy"
