"""Weights of a TorchScript archive, read without running or even loading its code.

`torch.jit.load` runs no Python, but what it loads can: TorchScript has operators that write files, and an object's
`__setstate__` runs on loading. So the pickle of the module tree is read by stand-ins here: classes are only named,
their state is kept as plain values, and tensors are made of the archive's stored bytes.
"""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.stored import ZipStored, made_tensors, stored_record
from qacomp.checkpoints.torch_pickle import LARGEST_PICKLE, TorchPickle
from qacomp.checkpoints.tree import dotted, tensor_paths
from qacomp.checkpoints.views import Untaken, View
from qacomp.errors import CheckpointError, NotACheckpointError, QacompError
from qacomp.pickles import Name, UnmadeObject

if TYPE_CHECKING:
    from torch import Tensor


def load_torchscript(path: Path, archive: zipfile.ZipFile, stem: str, size: int) -> "dict[str, Tensor]":
    """Return parameters, buffers and tensor attributes by place in the module tree; constants as CONSTANTS.c0, ...

    size: bytes of the file. Raises NotACheckpointError for a damaged archive, CheckpointError for tensors that can't be
    taken, or would take memory out of proportion.
    """
    state: dict[str, Tensor] = {}
    for record, folder in (("data.pkl", "data"), ("constants.pkl", "constants")):
        value = ScriptPickle(path, stored_record(path, archive, f"{stem}{record}", LARGEST_PICKLE)).load()
        if folder == "constants" and isinstance(value, tuple):
            value = {f"CONSTANTS.c{number}": entry for number, entry in enumerate(value)}
        views: dict[str, View] = {}
        for place, tensor in tensor_paths(value, path).items():
            name = dotted(place)
            if not isinstance(tensor, View):
                kind = tensor.kind if isinstance(tensor, Untaken) else "quantized"
                raise CheckpointError(f"{path}: {name[:80]} is a {kind} tensor: can't be compressed")
            views[name] = tensor
        state |= made_tensors(path, views, ZipStored(path, archive, f"{stem}{folder}/"), size)
    if not state:
        raise NotACheckpointError(f"{path}: a TorchScript archive without tensors")
    return state


class ScriptPickle(TorchPickle):
    """As torch.save's, with objects of the archive's own classes, whose state is kept."""

    def find(self, module: str, name: str) -> Name:
        """Return the name of a class of the archive's, or of torch's."""
        if module.partition(".")[0] not in ("__torch__", "torch", "collections"):
            raise self.damaged(f"its pickle needs {Name(module, name)}, which no TorchScript archive does; damaged?")
        return Name(module, name)

    def build(self, instance: Any, state: Any) -> None:
        """Keep the state of an object."""
        if isinstance(instance, UnmadeObject):
            instance.keep(state)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Return an object of the archive's, what torch.save's pickles have too, or a list with its type."""
        module = function.module if isinstance(function, Name) else ""
        if module == "torch.jit._pickle" and arguments:
            return arguments[0]  # build_intlist, restore_type_tag, ...: the value itself
        if module in ("torch._utils", "collections"):
            return super().call(function, arguments)
        return UnmadeObject()

    def strange(self, code: int) -> QacompError:
        """Return the error of an opcode that torch, which writes these pickles in C++, never uses."""
        return self.damaged(f"its pickle has the opcode {code:#x}, which torch never writes; damaged?")
