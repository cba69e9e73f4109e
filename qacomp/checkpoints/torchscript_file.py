"""Read the weights of a TorchScript archive without loading or running its code.

`torch.jit.load` runs no Python, but it runs an object's `__setstate__`, and TorchScript has operators that write files.
So the pickle of the module tree is read by the safe reader: objects become placeholders that keep their state as plain
values, and tensors are made from the archive's bytes.
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
    """Return parameters, buffers and tensor attributes by their path in the module tree; constants as CONSTANTS.c0, ...

    size: bytes of the file. Raises NotACheckpointError for a damaged archive, and CheckpointError for tensors that
    can't be read or would take far more memory than the file.
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
                raise CheckpointError(f"{path}: tensor {name[:80]} is {kind}, which can't be compressed; convert it")
            views[name] = tensor
        state |= made_tensors(path, views, ZipStored(path, archive, f"{stem}{folder}/"), size)
    if not state:
        raise NotACheckpointError(f"{path}: a TorchScript archive without tensors; is it the right file?")
    return state


class ScriptPickle(TorchPickle):
    """Reads a pickle of a TorchScript archive: like one of torch.save, with objects that keep their state."""

    def find(self, module: str, name: str) -> Name:
        """Return the name of a class of the archive or of torch. Raises NotACheckpointError for any other global."""
        if module.partition(".")[0] not in ("__torch__", "torch", "collections"):
            raise self.damaged(f"its pickle needs {Name(module, name)}, which no TorchScript archive does; damaged?")
        return Name(module, name)

    def build(self, instance: Any, state: Any) -> None:
        """Store the state of an object in its placeholder."""
        if isinstance(instance, UnmadeObject):
            instance.keep(state)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Return a value of torch.jit as it is, a tensor or dict as in torch.save, and a placeholder for any object."""
        module = function.module if isinstance(function, Name) else ""
        if module == "torch.jit._pickle" and arguments:
            return arguments[0]  # build_intlist, restore_type_tag and so on return their first argument
        if module in ("torch._utils", "collections"):
            return super().call(function, arguments)
        return UnmadeObject()

    def strange(self, code: int) -> QacompError:
        """Return the error for an opcode that torch's C++ pickler never writes."""
        return self.damaged(f"its pickle has the opcode {code:#x}, which torch never writes; damaged?")
