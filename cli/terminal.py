"""Find out whether a stream is a terminal, how wide it is, and whether it shows colours."""

import os
import shutil
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_VERDICTS = {"good": "green", "doubtful": "yellow", "broken": "red", "not measured": "dim"}
_NARROWEST = 24  # columns; a terminal that reports fewer is treated as having this many


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal; False for a closed stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_drawn(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal that can move its cursor, which bars need."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def width(stream: TextIO | None) -> int | None:
    """Return the width in columns of the terminal of `stream`; None for a pipe or a file, which have no width."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if is_terminal(stream) else None


def coloured(text: str, style: str, stream: TextIO | None) -> str:
    """Return `text` in a style ("red", "bold", ...) if `stream` is a terminal and NO_COLOR isn't set."""
    if not is_drawn(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def coloured_verdict(word: str, stream: TextIO | None) -> str:
    """Return a verdict's word in its colour: good green, doubtful yellow, broken red, not measured dim."""
    return coloured(word, _VERDICTS.get(word, "bold"), stream)
