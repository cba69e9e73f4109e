"""Read and complete the containers of pieces and parts: their last tensor, `DETAILS`, tells of the others as JSON.

It holds what a container has no place for, and what metadata are too short for. Needs numpy alone.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qacomp.formats import Container, FormatError, HeldTensor, Writer
from qacomp.runtime.operator_error import OperatorError

DETAILS = "qacomp/details"
"""The name of the tensor that holds, as JSON, what a container doesn't tell of its tensors."""


@dataclass(frozen=True)
class Told:
    """What a piece tells of a tensor besides its values. kept: why it isn't shared after all; held: for a writer."""

    held: HeldTensor
    kept: str | None
    error: OperatorError | None


def add_details(writer: Writer, told: dict[str, Any]) -> None:
    """Add the details of all tensors to a container, as its last tensor."""
    writer.add(DETAILS, np.frombuffer(json.dumps(told).encode(), np.uint8))


def read_details(container: Container) -> dict[str, Any]:
    """Return the details by tensor. Raises FormatError if a container has none, or not of all its tensors."""
    if DETAILS not in container.names:
        raise FormatError(f"{container.source}: is no part of a container; give the files that --part has written")
    try:
        told = json.loads(container.tensor(DETAILS).tobytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{container.source}: its details are damaged; write it again") from error
    names = [name for name in container.names if name != DETAILS]
    if not isinstance(told, dict) or [*told] != names or not all(isinstance(value, dict) for value in told.values()):
        raise FormatError(f"{container.source}: its details don't fit its tensors; write it again")
    return told


def read_piece(container: Container) -> Iterator[tuple[str, Told]]:
    """Yield name and details of each tensor of a piece in order. Raises FormatError for a damaged one."""
    for name, told in read_details(container).items():
        kept, error = told.get("kept"), told.get("error")
        found = None
        if error is not None:
            db, of = (error.get("db"), error.get("of")) if isinstance(error, dict) else (None, None)
            if not isinstance(db, float | int) or not math.isfinite(db) or not isinstance(of, str):
                raise FormatError(f"{container.source}: the error of {name[:80]!r} is damaged; write it again")
            found = OperatorError(float(db), of)
        yield name, Told(HeldTensor(container, name, told), kept if isinstance(kept, str) else None, found)
