"""Weights of a torch.export archive (.pt2), read from its table of raw records; no graph is built, nothing is run."""

import json
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.tensors import check_expansion
from qacomp.checkpoints.torchscript_file import stored_record
from qacomp.errors import CheckpointError, NotACheckpointError

if TYPE_CHECKING:
    from torch import Tensor

# torch/_export/serde/schema.py: ScalarType
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 12: "bool",
    13: "bfloat16", 28: "uint16",
}  # fmt: skip
_TABLES = (("data/weights/", "model_weights_config.json"), ("data/constants/", "model_constants_config.json"))


def load_exported_program(path: Path, archive: zipfile.ZipFile, stem: str, size: int) -> "dict[str, Tensor]":
    """Parameters, buffers and constants under the names that the exported module gave them.

    size: bytes of the file. Raises NotACheckpointError for a damaged archive, CheckpointError for tensors that can't be
    taken, or take memory out of proportion.
    """
    names, total = archive.namelist(), 0
    state: dict[str, Tensor] = {}
    for folder, end in _TABLES:
        for record in names:
            if record.startswith(stem + folder) and record.endswith(end):
                for name, entry in _table(path, stored_record(path, archive, record)).items():
                    tensor = _tensor(path, archive, stem + folder, name, entry)
                    if tensor is not None:
                        total += tensor.numel() * tensor.itemsize
                        check_expansion(path, total, size)
                        state[name] = tensor
    if not state:
        raise NotACheckpointError(
            f"{path}: a torch.export archive without weights (of an older torch? export it again)"
        )
    return state


def _table(path: Path, data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data)["config"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotACheckpointError(f"{path}: its table of weights is malformed; damaged?") from error
    if not isinstance(config, dict):
        raise NotACheckpointError(f"{path}: its table of weights is malformed; damaged?")
    return config


def _tensor(path: Path, archive: zipfile.ZipFile, folder: str, name: str, entry: Any) -> "Tensor | None":
    import torch

    try:
        if entry.get("tensor_meta") is None:
            return None  # a custom object: no weight
        meta, record, pickled = entry["tensor_meta"], str(entry["path_name"]), bool(entry["use_pickle"])
        shape = [int(size["as_int"]) for size in meta["sizes"]]
        strides = [int(stride["as_int"]) for stride in meta["strides"]]
        offset, kind = int(meta["storage_offset"]["as_int"]), meta["dtype"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotACheckpointError(f"{path}: weight {name[:80]} is described in no known way; damaged?") from error
    if pickled:
        raise CheckpointError(f"{path}: weight {name[:80]} is pickled (a tensor subclass?): save a plain one")
    if kind not in _DTYPES:
        raise CheckpointError(f"{path}: weight {name[:80]} has element type {kind}: can't be compressed")
    dtype: torch.dtype = getattr(torch, _DTYPES[kind])
    data = stored_record(path, archive, folder + record)
    values, last = len(data) // dtype.itemsize, offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
    if len(shape) != len(strides) or min([0, offset, *shape, *strides]) < 0 or math.prod(shape) > values:
        raise NotACheckpointError(f"{path}: weight {name[:80]} doesn't fit its {len(data)} stored bytes; damaged?")
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    if last >= values:
        raise NotACheckpointError(f"{path}: weight {name[:80]} reaches outside its {len(data)} bytes; damaged?")
    stored = torch.frombuffer(bytearray(data), dtype=dtype, count=values)
    return stored.as_strided(shape, strides, offset).clone().contiguous()
