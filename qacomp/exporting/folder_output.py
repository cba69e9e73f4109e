"""Decode a container to the folder that it was made from: the same files, names and types. Doesn't need torch."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError, ExportError, FormatError, NotACheckpointError, OutputNotWritableError
from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.part import level_of
from qacomp.exporting.safetensors_file import container_types, stored_shape
from qacomp.exporting.safetensors_output import Shape, write_empty, write_safetensors
from qacomp.exporting.tensor_tasks import DecodeTask, decode_tensors
from qacomp.folders.layout import HeldWeights, file_tensors, held_layout, weight_names
from qacomp.folders.model_folder import INDEX, weight_map
from qacomp.folders.weights_file import read_weights_file
from qacomp.formats import Container
from qacomp.formats.atomic import atomic_folder, write_atomically
from qacomp.formats.checksums import crc32
from qacomp.tensors.foreign_dtypes import FOREIGN, Meant, type_name
from qacomp.workers.choice import ALONE


def is_folder(container: Container) -> bool:
    """Return whether a container was made from a folder, and so can be decoded to one. Raises FormatError."""
    return held_layout(container) is not None


def folder_files(container: Container) -> list[str]:
    """Return the paths of all files that `write_folder` writes. Raises FormatError."""
    layout = held_layout(container)
    return [] if layout is None else [*(held.file for held in layout.weights), *file_tensors(container)]


def write_folder(container: Container, output: Path, options: DecodeOptions) -> Decoded:
    """Write the files of the folder to a new folder `output`, one tensor at a time, and read the weights back.

    The folder appears when all of it is written. A folder there is replaced if it is empty or holds only files with the
    same names (`check_folder` tells before any work). Raises FormatError for a damaged container, an index that doesn't
    fit the weights, and a hostile path; ConfigError for a container of something else; OutputNotWritableError.
    """
    layout, part = held_layout(container), options.part
    if layout is None:
        raise ConfigError(f"{output}: {container.source} wasn't made from a folder; give NAME.safetensors or NAME.onnx")
    if part.submodel is not None:
        raise ConfigError(f"--submodel {part.submodel}: a folder holds a whole network; leave it out")
    level, types, names = level_of(container, part), container_types(container), weight_names(container, layout)
    check_folder(container, output)
    _check_indexes(container, names)
    size, many = 0, options.workers != ALONE and Path(container.source).is_file()
    with atomic_folder(output, replace=True) as made:
        tasks: list[DecodeTask] = []
        for held in layout.weights:
            target = _place(made, held.file)
            if many:
                tasks += _tasks(container, target, held, names[held.file], (level, types, part.allow_truncated))
            else:
                _write_weights(container, target, held, names[held.file], (level, types))
            size += target.stat().st_size
        decode_tensors(tasks, options.workers if many else ALONE, options.progress)
        for path, name in file_tensors(container).items():
            size += write_atomically(_place(made, path), [container.tensor(name).tobytes()])
    notes = (f"{len(layout.weights)} files of weights, {len(file_tensors(container))} other files",)
    return Decoded(Path(container.source), part, output, size, container.available, 0.0, notes)


def check_folder(container: Container, output: Path) -> None:
    """Raise OutputNotWritableError if a folder with other files, or no folder, is at `output`, or none can be made."""
    if output.is_symlink():
        raise OutputNotWritableError(f"{output}: is a link; give the path of the folder itself")
    if not output.exists():
        return
    if not output.is_dir():
        raise OutputNotWritableError(f"{output}: is a file, but the container holds a folder; give another name")
    known = set(folder_files(container))
    for path in output.rglob("*"):
        if path.is_symlink() or (not path.is_dir() and path.relative_to(output).as_posix() not in known):
            raise OutputNotWritableError(
                f"{output}: holds {path.relative_to(output)}, which the container doesn't have; give the name of a new "
                "folder"
            )


def _place(folder: Path, path: str) -> Path:
    """Return where a checked path lies below a folder, whose subfolders are made."""
    target = folder / path
    if not target.resolve().is_relative_to(folder.resolve()):  # `paths_problem` refused it already
        raise FormatError(f"{path[:80]!r} leaves the folder; the file is hostile")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _write_weights(
    container: Container,
    target: Path,
    held: HeldWeights,
    names: Mapping[str, str],
    how: tuple[int | None, Mapping[str, Meant]],
) -> None:
    """Write one .safetensors file, and read it back. how: the level, and the types that the container lacks."""
    level, types = how
    shapes = _shapes(container, names, types)

    def values(own: str) -> NDArray[Any]:
        array: NDArray[Any] = container.tensor(names[own], level=level)
        return array

    sums = write_safetensors(target, shapes, values, held.metadata, ordered=True)
    try:
        written = read_weights_file(target)
        same = list(written.tensors) == list(sums)
        same = same and all(crc32(_bytes(written.read(own))) == told for own, told in sums.items())
    except NotACheckpointError as error:
        raise ExportError(f"{error}; please report this") from error
    if not same:
        raise ExportError(f"{target}: isn't what was written to it; is the disk damaged?")


def _tasks(
    container: Container,
    target: Path,
    held: HeldWeights,
    names: Mapping[str, str],
    how: tuple[int | None, Mapping[str, Meant], bool],
) -> list[DecodeTask]:
    """Write a file without values, and return the tasks that fill it. how: level, types, cut off or not."""
    level, types, truncated = how
    shapes = _shapes(container, names, types)
    places = write_empty(target, shapes, held.metadata)
    source = Path(container.source).absolute()
    return [
        DecodeTask(source, truncated, names[own], level, shapes[own], target.absolute(), place)
        for own, place in places.items()
    ]


def _shapes(container: Container, names: Mapping[str, str], types: Mapping[str, Meant]) -> dict[str, Shape]:
    """Return the tensors of a header by their own names. types: those that the container lacks."""
    shapes: dict[str, Shape] = {}
    for own, name in names.items():
        shape = stored_shape(container, name)
        if name in types:
            kind = FOREIGN[type_name(types[name])]
            shape = replace(shape, code=kind.safetensors, pairs=kind.pairs) if kind.safetensors else shape
        shapes[own] = shape
    return shapes


def _bytes(array: NDArray[Any]) -> bytes:
    return np.asarray(array, order="C").tobytes()


def _check_indexes(container: Container, names: Mapping[str, Mapping[str, str]]) -> None:
    """Raise FormatError for an index that places a tensor in a file which doesn't hold it."""
    for path, tensor in file_tensors(container).items():
        if not path.endswith(INDEX):
            continue
        above = path.rpartition("/")[0]
        try:
            placed, _ = weight_map(container.tensor(tensor).tobytes(), f"{container.source}: {path}")
        except NotACheckpointError as error:
            raise FormatError(str(error)) from error
        for name, shard in placed.items():
            if name not in names.get(f"{above}/{shard}" if above else shard, ()):
                raise FormatError(
                    f"{container.source}: {path} places {name[:80]!r} in {shard[:80]!r}, which doesn't hold it; the "
                    "file is damaged"
                )
