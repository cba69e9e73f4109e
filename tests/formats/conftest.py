"""Helpers that several tests of the container use, as fixtures: tests are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def load(path: Path) -> ModuleType:
    """A Python file beside the tests as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def resign() -> ModuleType:
    """The functions of resign.py: hostile files with right checksums."""
    return load(Path(__file__).with_name("resign.py"))
