"""Make text safe for an HTML page, since names come from files that somebody else wrote."""

import html
from collections.abc import Iterable, Sequence


def text(value: object, limit: int = 400) -> str:
    """Escape a value for HTML text and attributes; unprintable characters (text direction too) become U+FFFD.

    A text of more than `limit` characters loses its middle, and the number of characters left out stands there.
    """
    raw = str(value)
    if len(raw) > limit:
        half = limit // 2
        raw = f"{raw[:half]} … {len(raw) - 2 * half:,} characters … {raw[-half:]}"
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in raw))


def block(value: str) -> str:
    """Escape text of several lines and keep its line breaks; each line is cut to 2000 characters."""
    return "\n".join(text(line, 2000) for line in value.splitlines())


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Return a number with its unit, or a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}{unit}"


def shape_of(sides: Sequence[int]) -> str:
    """Return a shape as text: `16×3×3`."""
    return "×".join(map(str, sides)) or "scalar"


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Return the entries of a description list; names and values are escaped. A long value gets its own row."""
    return "".join(
        f"<div{' class=long' if len(value) > 40 else ''}><dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in rows
    )


def section(anchor: str, heading: str, body: str, lead: str = "") -> str:
    """Return a section of the page, or "" if `body` is empty. `heading`, `lead` and `body` are markup."""
    if not body:
        return ""
    intro = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{anchor}"><h2>{heading}</h2>{intro}{body}</section>\n'
