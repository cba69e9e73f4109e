"""The one way to the terminal: text is escaped, written in the stream's own encoding, and a reader may leave."""

import codecs
import contextlib
import os
import sys
import textwrap
from typing import TextIO

from qacomp.cli.terminal import coloured, width

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
    r"""Return text from anywhere on one line: what can't be printed (escape codes, lone surrogates) as \x1b.

    Text longer than `limit` characters loses its middle, and says how much.
    """
    text = str(value)
    if limit is not None and len(text) > limit:
        half = limit // 2 - 10
        text = f"{text[:half]}…({len(text) - 2 * half:,} more)…{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown_name(name: str, limit: int = 200) -> str:
    """Return a name as a table shows it; one of nothing or of spaces alone stands in quotes."""
    return shown(name, limit) if name.strip() else repr(name)


def echo(text: object = "", *, err: bool = False) -> None:
    """Write one line on stdout, or on stderr; on a terminal it is broken between words."""
    write(f"{wrapped(shown(text), sys.stderr if err else sys.stdout)}\n", err=err)


def note(text: str) -> None:
    """Write a remark that the user must see on stderr."""
    line = wrapped(f"note: {shown(text)}", sys.stderr)
    write(f"{coloured('note:', 'cyan', sys.stderr)}{line.removeprefix('note:')}\n", err=True)


def complain(text: str) -> None:
    """Write one line in red on stderr: an error, or a verdict that --strict doesn't let pass."""
    write(f"{coloured(shown(text), 'red', sys.stderr)}\n", err=True)


def write(text: str, *, err: bool = False) -> None:
    """Write text of several lines that is escaped already. A reader that has left is no error.

    Raise OutputNotWritableError where the stream can't be written (a full disk behind it).
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
    """Return whether a stream takes every character."""
    return stream is not None and (stream.encoding or "").lower().replace("-", "").startswith("utf")


def prepare() -> None:
    """Let stdout and stderr write what their encoding lacks in ASCII: × as x, → as ->, others as escapes."""
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def as_written(text: str, stream: TextIO | None) -> str:
    """Return `text` with the characters that `stream` will write, whose number may be another: `->` for `→`."""
    if stream is None or is_unicode(stream):
        return text
    codecs.register_error(_HANDLER, _in_ascii)
    return text.encode(stream.encoding or "ascii", _HANDLER).decode(stream.encoding or "ascii")


def wrapped(line: str, stream: TextIO | None) -> str:
    """Return a line broken between words where `stream` is a terminal that it doesn't fit."""
    columns = width(stream)
    if columns is None or len(as_written(line, stream)) <= columns:
        return line
    line = as_written(line, stream)
    return textwrap.fill(line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("unicode_escape").decode("ascii") for c in rest), error.end
