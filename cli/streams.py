"""Write all output: escape unprintable text, use the stream's encoding, and accept that a reader closes the pipe."""

import codecs
import contextlib
import os
import sys
import textwrap
from typing import TextIO

from qacomp.cli.terminal import coloured, width
from qacomp.plain_text import printable

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
_HANDLER = "qacomp.ascii"  # name of the error handler for characters that a stream's encoding lacks


def shown(value: object, limit: int | None = None) -> str:
    r"""Return a value as text on one line; unprintable characters (escape codes, lone surrogates) become \x1b.

    In a text longer than `limit` characters the middle is replaced by the number of characters left out.
    """
    return printable(str(value), limit)


def shown_name(name: str, limit: int = 200) -> str:
    """Return a name for a table; an empty name or one of spaces only is shown in quotes."""
    return shown(name, limit) if name.strip() else repr(name)


def echo(text: object = "", *, err: bool = False) -> None:
    """Write one line on stdout or stderr; a terminal's line is broken between words."""
    write(f"{wrapped(shown(text), sys.stderr if err else sys.stdout)}\n", err=err)


def note(text: str) -> None:
    """Write a note for the user on stderr."""
    line = wrapped(f"note: {shown(text)}", sys.stderr)
    write(f"{coloured('note:', 'cyan', sys.stderr)}{line.removeprefix('note:')}\n", err=True)


def complain(text: str) -> None:
    """Write one line in red on stderr: an error, or a verdict that fails --strict."""
    write(f"{coloured(shown(text), 'red', sys.stderr)}\n", err=True)


def write(text: str, *, err: bool = False) -> None:
    """Write text that is already escaped, as it is. It isn't an error if the reader has closed the pipe.

    Raises OutputNotWritableError if stdout can't be written, for example because the disk is full.
    """
    stream: TextIO | None = sys.stderr if err else sys.stdout
    if stream is None:  # the parent process has closed it
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
    """Discard everything that is still written to a stream, and its buffer."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def is_unicode(stream: TextIO | None) -> bool:
    """Return whether a stream's encoding has every character."""
    return stream is not None and (stream.encoding or "").lower().replace("-", "").startswith("utf")


def prepare() -> None:
    """Make stdout and stderr replace characters that their encoding lacks: × by x, → by ->, others by escapes."""
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def as_written(text: str, stream: TextIO | None) -> str:
    """Return `text` as `stream` will write it; it can get longer, since `→` may become `->`."""
    if stream is None or is_unicode(stream):
        return text
    codecs.register_error(_HANDLER, _in_ascii)
    return text.encode(stream.encoding or "ascii", _HANDLER).decode(stream.encoding or "ascii")


def wrapped(line: str, stream: TextIO | None) -> str:
    """Return a line, broken between words if it is wider than the terminal of `stream`."""
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
