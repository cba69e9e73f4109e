"""The value that every reader gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.datasets.named import NamedData
from qacomp.datasets.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of one file and what the file says about them.

    kind: qacomp, state_dict, safetensors, sharded, torchscript, exported program, or module for one in memory.
    state: CPU, contiguous, in the file's order and dtypes. digest: SHA-256 of the file's bytes, in hex. bytes: the
    file's size. notes: what was unwrapped, renamed or left out, one sentence each. arch, num_classes, preprocessing and
    data are None where the file doesn't say. module: the network itself, of a pickled one that is trusted.
    metadata: of a safetensors file. parts: SHA-256 of each file, where there are several.
    """

    path: Path
    kind: str
    state: "dict[str, Tensor]"
    arch: str | None
    num_classes: int | None
    preprocessing: Preprocessing | None
    data: NamedData | None
    digest: str
    bytes: int
    notes: tuple[str, ...]
    module: "nn.Module | None" = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
