"""Read --codebook: one codebook for each tensor, channel or group of weights, or affine grids (affine4:32)."""

import re
from dataclasses import dataclass

from qacomp.errors import ConfigError

BLOCKS = (16, 32, 64, 128, 256)
"""Group sizes of grids, in weights of a column: those that onnxruntime's operator MatMulNBits supports."""
_BITS = (2, 4, 8)
GRIDS = "affine2, affine4 or affine8, alone or with :N for groups, N one of " + ", ".join(map(str, BLOCKS))
"""The forms of grids, for messages."""


@dataclass(frozen=True)
class GridKind:
    """A kind of affine grid. bits: of an index; block: group size, None for one grid for each output channel."""

    bits: int
    block: int | None = None


def grid_kind(codebook: str) -> GridKind | None:
    """Return the kind of grid that a setting names; None if it isn't a grid."""
    found = re.fullmatch(r"affine(\d)(?::([1-9]\d{0,8}))?", codebook)
    if found is None or int(found[1]) not in _BITS:
        return None
    block = int(found[2]) if found[2] else None
    return None if block is not None and block not in BLOCKS else GridKind(int(found[1]), block)


def check_codebook(codebook: str) -> None:
    """Raise ConfigError unless it is tensor, channel, group:N with N of at least 8, or a kind of grid."""
    group = re.fullmatch(r"group:(\d{1,9})", codebook)
    known = codebook in ("tensor", "channel") or grid_kind(codebook) is not None
    if not known and (group is None or int(group[1]) < 8):
        raise ConfigError(f"codebook = {codebook!r}: must be tensor, channel, group:N with N of 8 or more, {GRIDS}")
