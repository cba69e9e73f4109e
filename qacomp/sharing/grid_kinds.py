"""Kinds of --codebook that are affine grids: affine4, one an output channel; affine4:32, one for 32 inputs of it."""

import re
from dataclasses import dataclass

from qacomp.onnx_options import BLOCKS

_BITS = (2, 4, 8)
GRIDS = "affine2, affine4 or affine8, alone or with :N for blocks, N one of " + ", ".join(map(str, BLOCKS))
"""What they can be, for messages."""


@dataclass(frozen=True)
class GridKind:
    """bits: of an integer; block: how many inputs of an output channel share a grid, None for all of them."""

    bits: int
    block: int | None = None


def grid_kind(codebook: str) -> GridKind | None:
    """What a setting asks for; None where it is no grid that there is."""
    found = re.fullmatch(r"affine(\d)(?::([1-9]\d{0,8}))?", codebook)
    if found is None or int(found[1]) not in _BITS:
        return None
    block = int(found[2]) if found[2] else None
    return None if block is not None and block not in BLOCKS else GridKind(int(found[1]), block)
