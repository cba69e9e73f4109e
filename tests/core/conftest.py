"""What several tests of the core train on."""

import pytest

from qacomp.datasets import Dataset, load_dataset


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")
