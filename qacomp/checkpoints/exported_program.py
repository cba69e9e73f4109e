"""Read the weights of a torch.export archive (.pt2) from its raw records; no graph is built and no code is run."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.stored import ZipStored, made_tensors, stored_info, stored_record
from qacomp.checkpoints.views import ITEM_BYTES, Storage, View, checked_view
from qacomp.errors import CheckpointError, NotACheckpointError
from qacomp.pickles import LARGEST_NAME

if TYPE_CHECKING:
    from torch import Tensor

# torch/_export/serde/schema.py: ScalarType
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 12: "bool",
    13: "bfloat16", 28: "uint16",
}  # fmt: skip
_LARGEST_TABLE = 64 << 20  # bytes of a table of weights; an entry takes about 400
_TABLES = (("data/weights/", "model_weights_config.json"), ("data/constants/", "model_constants_config.json"))


def load_exported_program(path: Path, archive: zipfile.ZipFile, stem: str, size: int) -> "dict[str, Tensor]":
    """Return parameters, buffers and constants by the names that they have in the exported module.

    size: bytes of the file. Raises NotACheckpointError for a damaged archive, and CheckpointError for tensors that
    can't be read or would take far more memory than the file.
    """
    names = archive.namelist()
    state: dict[str, Tensor] = {}
    for folder, end in _TABLES:
        views: dict[str, View] = {}
        for record in names:
            if record.startswith(stem + folder) and record.endswith(end):
                for name, entry in _table(path, stored_record(path, archive, record, _LARGEST_TABLE)).items():
                    if isinstance(entry, dict) and entry.get("tensor_meta") is None:
                        continue  # a custom object, not a weight
                    views[name] = _view(path, archive, stem + folder, name, entry)
        state |= made_tensors(path, views, ZipStored(path, archive, stem + folder), size)
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


def _view(path: Path, archive: zipfile.ZipFile, folder: str, name: str, entry: Any) -> View:
    try:
        meta, record, pickled = entry["tensor_meta"], str(entry["path_name"])[:LARGEST_NAME], entry["use_pickle"]
        shape = [size["as_int"] for size in meta["sizes"]]
        strides = [stride["as_int"] for stride in meta["strides"]]
        offset, kind = meta["storage_offset"]["as_int"], meta["dtype"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotACheckpointError(f"{path}: the entry of weight {name[:80]} is malformed; damaged?") from error
    if pickled:
        raise CheckpointError(f"{path}: weight {name[:80]} is pickled (a tensor subclass?); export a plain tensor")
    if type(kind) is not int or kind not in _DTYPES:
        raise CheckpointError(f"{path}: weight {name[:80]} has an unsupported element type; convert it, export again")
    dtype = _DTYPES[kind]
    stored = stored_info(path, archive, folder + record).file_size
    storage = Storage(record, dtype, stored // ITEM_BYTES[dtype])
    if storage.nbytes != stored:
        storage = Storage(record, "uint8", stored)
    return checked_view(f"{path}: weight {name[:80]}", storage, dtype, offset, shape, strides)
