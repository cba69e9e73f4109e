"""Call the package model-signing: quiet, and with one error of ours in place of the many that it raises."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

from qacomp.errors import QacompError, SignatureError
from qacomp.formats.regular import read_small
from qacomp.plain_text import printable

LARGEST_KEY = 1 << 16  # bytes of a key or of a file of certificates in PEM
_WORDS = 200  # characters of a message of the package that are shown


@contextlib.contextmanager
def speaking_for(what: str) -> Iterator[None]:
    """Turn any error of the package into a SignatureError that begins with `what`; drop what it prints and warns.

    It parses hostile files with other packages, so that any exception may come out of it.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (QacompError, OSError, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:
        words = printable(" ".join(str(error).split()) or type(error).__name__, _WORDS)
        raise SignatureError(f"{what} ({words})") from error


def key_file(path: Path) -> Path:
    """Return the path of a file of keys or certificates. Raises IrregularFileError for a large one, and OSError."""
    read_small(path, LARGEST_KEY)
    return path
