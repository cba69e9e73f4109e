"""What several tests of the core share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

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
