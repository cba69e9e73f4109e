"""Draw what all pictures have in common: style, grid of panels, levels, titles, and the bytes of the file.

Doesn't use pyplot and doesn't change matplotlib's settings lastingly. The same figure has the same bytes every time.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import QacompError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

BAR_COLOR, LINE_COLOR, LEVEL_COLOR, QUIET_COLOR = "#9dbbdb", "#1f4e79", "#c8452f", "#6b6b6b"
DPI = 120
FULL_HEIGHT_LEVELS = 32
"""Up to this number, each level is a line from top to bottom of a panel; more would hide the bars, and are ticks."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib includes this font, so it is the same everywhere
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#404040",
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "svg.fonttype": "none",  # text isn't converted to paths: the file is smaller and can be searched
    "svg.hashsalt": "qacomp",
}


class MissingMatplotlibError(QacompError):
    """matplotlib, an optional dependency, can't be imported."""


class PictureFormatError(QacompError):
    """The output's suffix isn't a picture format that qacomp writes."""


class PictureSizeError(QacompError):
    """One picture has no room for so many panels."""


def require_matplotlib() -> None:
    """Raise MissingMatplotlibError if matplotlib can't be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        message = f"pictures need matplotlib ({error}); install it: pip install 'qacomp[plot]'"
        raise MissingMatplotlibError(message) from error


def picture_format(path: Path) -> str:
    """Return the format of the path's suffix, `png` or `svg`; raise PictureFormatError for any other suffix."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise PictureFormatError(f"{path}: pictures are written as .png or .svg; change the suffix of -o")
    return kind


@contextmanager
def house_style() -> Iterator[None]:
    """Set matplotlib's defaults and the style above instead of the user's settings, which are restored afterwards."""
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a missing glyph is drawn as a box
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def render(figure: "Figure", kind: str) -> bytes:
    """Return the figure's bytes as `png` or `svg`, without dates and names of software, so that they are repeatable."""
    buffer = io.BytesIO()
    nothing = {"svg": ("Date", "Creator", "Format", "Type"), "png": ("Software",)}[kind]
    with house_style():
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dict.fromkeys(nothing))
    return buffer.getvalue()


def panel_grid(
    rows: int, columns: int, *, panel: tuple[float, float], top: float, bottom: float
) -> tuple["Figure", list[list["Axes"]]]:
    """Make a figure of rows x columns axes; `panel` is (width, height) of one in inches, without labels and title.

    top, bottom: inches above and below the grid. Must be called inside `house_style`.
    """
    from matplotlib.figure import Figure

    left, right, gap_x, gap_y = 0.62, 0.2, 0.62, 0.8
    width = left + columns * panel[0] + (columns - 1) * gap_x + right
    height = top + rows * panel[1] + (rows - 1) * gap_y + bottom
    figure = Figure(figsize=(width, height), dpi=DPI)
    place = {
        "left": left / width,
        "right": 1 - right / width,
        "top": 1 - top / height,
        "bottom": bottom / height,
        "wspace": gap_x / panel[0],
        "hspace": gap_y / panel[1],
    }
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=place)
    return figure, [list(row) for row in axes]


def draw_levels(axes: "Axes", levels: NDArray[np.floating], *, front: bool = False) -> "LineCollection":
    """Draw a dashed vertical line at each of `levels` (K,), or a tick at the bottom if K > 32. front: over the data."""
    many = len(levels) > FULL_HEIGHT_LEVELS
    return axes.vlines(
        levels,
        0.0,
        0.06 if many else 1.0,
        transform=axes.get_xaxis_transform(),
        colors=LEVEL_COLOR,
        linestyles="solid" if many else (0, (3, 2)),
        linewidth=0.5 if many else 0.7,
        zorder=3.0 if front else 0.9,
        gid="levels",
    )


def plain_text(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, without its middle if longer; unprintable ones become '?'."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    if len(clean) <= limit:
        return clean
    tail = (limit - 1) // 2
    return f"{clean[: limit - 1 - tail]}…{clean[-tail:]}"


def title(axes: "Axes", name: str, detail: str, limit: int = 40) -> None:
    """Write the panel's name in bold and, below it, `detail`."""
    style: dict[str, Any] = {
        "parse_math": False,  # names from a file aren't formulas
        "ha": "left",
        "va": "bottom",
        "textcoords": "offset points",
        "xycoords": "axes fraction",
    }
    for text, lift, weight, color in (
        (plain_text(name, limit), 15, "bold", "black"),
        (plain_text(detail, limit + 8), 4, "normal", QUIET_COLOR),
    ):
        axes.annotate(text, (0.0, 1.0), xytext=(0, lift), fontweight=weight, color=color, **style)


def footnote(figure: "Figure", lines: Sequence[str]) -> None:
    """Write small lines in the lower left corner."""
    height = figure.get_figheight()
    figure.text(
        0.1 / figure.get_figwidth(), 0.08 / height, "\n".join(lines), color=QUIET_COLOR, fontsize=7, parse_math=False
    )
