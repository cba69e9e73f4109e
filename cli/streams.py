"""The one way to the terminal: text is escaped, written in the stream's own encoding, and a reader may leave."""

import codecs
import contextlib
import os
import sys
from typing import TextIO

_ASCII = {
    "×": "x",
    "–": "-",
    "−": "-",
    "—": "-",
    "→": "->",
    "…": "...",
    "·": ".",
    "≥": ">=",
    "≤": "<=",
    "’": "'",
    "λ": "lambda",
    "ρ": "rho",
    "Σ": "sum",
    "ä": "a",
    "“": '"',
    "”": '"',
    "█": "#",
    "━": "-",
    "─": "-",
    "│": "|",
}
_HANDLER = "qacomp.ascii"  # of characters that a stream's encoding lacks


def shown(value: object, limit: int | None = None) -> str:
    r"""Text from anywhere on one line: what can't be printed (escape codes, direction marks, lone surrogates) as \x1b.

    What is longer than `limit` characters loses its middle, and says how much.
    """
    text = str(value)
    if limit is not None and len(text) > limit:
        half = limit // 2 - 10
        text = f"{text[:half]}…({len(text) - 2 * half:,} more)…{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown_name(name: str, limit: int = 80) -> str:
    """A name as it is shown in a table; one of nothing or of spaces alone in quotes."""
    return shown(name, limit) if name.strip() else repr(name)


def echo(text: object = "", *, err: bool = False) -> None:
    """One line on stdout, or on stderr."""
    write(f"{shown(text)}\n", err=err)


def write(text: str, *, err: bool = False) -> None:
    """Text of several lines that is escaped already. A reader that has left is no error.

    Raises OutputNotWritableError where the stream can't be written (a full disk behind it).
    """
    stream: TextIO | None = sys.stderr if err else sys.stdout
    if stream is None:  # closed by whoever started this
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        silence(stream)
    except OSError as error:
        silence(stream)
        if not err:
            from qacomp.formats.errors import OutputNotWritableError  # here, so that --help needn't import numpy
            from qacomp.formats.system_errors import advice, words

            raise OutputNotWritableError(f"stdout: can't be written ({words(error)}); {advice(error)}") from error


def silence(stream: TextIO) -> None:
    """Let all that still comes go nowhere, what waits in the stream's buffer too."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def is_unicode(stream: TextIO | None) -> bool:
    """Whether a stream takes every character."""
    return stream is not None and (stream.encoding or "").lower().replace("-", "").startswith("utf")


def prepare() -> None:
    """Let stdout and stderr write what their encoding lacks in ASCII: × as x, → as ->, others as escapes."""
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("unicode_escape").decode("ascii") for c in rest), error.end
