"""Files that several tests of the container read."""

from collections.abc import Iterator

import pytest
from attacks import GOLDEN

from qacomp.formats.errors import NativeReaderError
from qacomp.formats.native_library import compiler, library


@pytest.fixture
def tiny() -> bytes:
    """The smallest golden file: two tensors, `wb` shared and `b` dense."""
    return (GOLDEN / "tiny.qac").read_bytes()


@pytest.fixture(scope="session")
def c_decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The C decoder, compiled once for all tests of a session; skips where there is no compiler."""
    folder = tmp_path_factory.getbasetemp().parent / "compiled"
    folder.mkdir(exist_ok=True, mode=0o700)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder))
        library.cache_clear()
        try:
            compiler()
        except NativeReaderError as error:
            pytest.skip(str(error))
        library()
        yield
