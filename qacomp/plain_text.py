"""Turn any text into one line of printable characters."""


def printable(text: str, limit: int | None = None) -> str:
    r"""Return text on one line; characters that can't be printed (line ends, escape codes) are written as \x1b.

    A text longer than `limit` characters loses its middle, and the number of characters left out stands there.
    """
    if limit is not None and len(text) > limit:
        half = limit // 2 - 10
        text = f"{text[:half]}…({len(text) - 2 * half:,} more)…{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
