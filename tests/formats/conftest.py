"""Files that several tests of the container read."""

import pytest
from attacks import GOLDEN


@pytest.fixture
def tiny() -> bytes:
    """The smallest golden file: two tensors, `wb` shared and `b` dense."""
    return (GOLDEN / "tiny.qac").read_bytes()
