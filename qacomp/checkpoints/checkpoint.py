"""Define Checkpoint, the value that all readers of checkpoints return."""

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
    """The tensors of one checkpoint and what the file says about them.

    kind: qacomp, state_dict, safetensors, sharded, torchscript, exported program, or module for a module in memory;
    state: contiguous CPU tensors by name, in the file's order and dtypes; arch, num_classes, preprocessing, data: None
    if the file doesn't record them; digest: SHA-256 of the file's bytes, in hex; bytes: size of the file; notes: what
    was unwrapped, renamed or left out; module: the network, if the file is a trusted pickle of one; metadata: that of a
    safetensors file; parts: SHA-256 of each file, if there are several. pruned, activations: of a network that
    `qacomp train` pruned, or whose ReLUs it quantized to so many bits.
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
    pruned: bool = False
    activations: int | None = None
