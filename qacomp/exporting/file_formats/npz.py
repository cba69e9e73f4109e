"""Write a NumPy archive: one .npy entry for each weight, with its state-dict name. Doesn't need torch."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError, ExportError
from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.output_formats import register_format
from qacomp.exporting.part import level_of
from qacomp.exporting.safetensors_file import container_types, state_dict
from qacomp.formats import BFLOAT16, Container, atomic_file, bfloat16_to_float32
from qacomp.tensors.foreign_dtypes import as_numpy

_LONGEST = (1 << 16) - 1  # bytes, the limit for a name in a zip archive


@register_format("npz")
def write(container: Container, output: Path, options: DecodeOptions) -> Decoded:
    """Write the tensors of a level to an uncompressed .npz archive, and read them back.

    bfloat16, which numpy lacks, becomes float32. The same container gives the same bytes. Raises ConfigError for a
    sub-model without tensors of its own, and ExportError for a name that the archive can't hold.
    """
    level = level_of(container, options.part)
    if options.part.submodel is not None and level is None:
        raise ConfigError(f"--submodel {options.part.submodel}: use -o NAME.onnx; .npz holds the whole network")
    types, notes = container_types(container), ["weights only: no accuracy, no latency"]
    arrays: dict[str, NDArray[Any]] = {}
    for name, array in state_dict(container, level).items():
        if "\0" in name or len(f"{name}.npy".encode()) > _LONGEST:
            raise ExportError(f"{output}: .npz can't hold a tensor named {name[:80]!r}; decode to .safetensors")
        arrays[name] = as_numpy(array, types[name]) if name in types else array
        if array.dtype == BFLOAT16:
            arrays[name] = bfloat16_to_float32(array)
            notes.append(f"{name[:80]}: bfloat16, stored as float32")
    with atomic_file(output) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    return Decoded.of(container, output, options, _read_back_error(output, arrays), tuple(notes))


def _read_back_error(output: Path, arrays: dict[str, NDArray[Any]]) -> float:
    """Return the largest |difference| between the tensors in the file and the arrays. Raises ExportError."""
    worst = 0.0
    with np.load(output, allow_pickle=False) as read:
        if sorted(read.files) != sorted(arrays):
            raise ExportError(f"{output}: tensors are missing from the decoded file; please report this")
        for name, array in arrays.items():
            other = read[name]
            if other.shape != array.shape or other.dtype != array.dtype:
                raise ExportError(f"{output}: tensor {name[:80]} has a wrong shape or type in it; please report this")
            if array.size and other.tobytes() != array.tobytes():
                worst = max(worst, float(np.abs(other.astype(np.float64) - array.astype(np.float64)).max()))
    return worst
