"""Decode a container into memory, or into a file in the format of its suffix. Only torch tensors need torch.

Users call `decode`. `decode_file` writes a file with the writer of its format. Nothing is measured here;
`qacomp.exporting.decoded_measuring` measures the result of `decode_file`.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypedDict, Unpack

from qacomp.errors import ConfigError
from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.folder_output import check_folder, is_folder, write_folder
from qacomp.exporting.onnx_model import onnx_model
from qacomp.exporting.onnx_options import DENSE, OnnxOptions
from qacomp.exporting.output_formats import suffixes, writer_for
from qacomp.exporting.part import WHOLE, Part, level_of
from qacomp.exporting.safetensors_file import container_types, state_dict
from qacomp.extras import naming_extra
from qacomp.formats import Container
from qacomp.formats.shard_index import SUFFIX, is_shard_index
from qacomp.outputs import claim, claim_folder, decoded_outputs
from qacomp.progress import Progress, SilentProgress
from qacomp.remote import open_file
from qacomp.remote.transfer import sent
from qacomp.remote.urls import url_name, url_of
from qacomp.runtime.limits import measured_together
from qacomp.sources.input_files import command_files
from qacomp.tensors.foreign_dtypes import as_numpy
from qacomp.workers.choice import ALONE, Workers, workers_of

PathLike: TypeAlias = str | os.PathLike[str]
FORMS = ("torch", "numpy", "onnx")


class Compressed(Protocol):
    """A finished compression. output: path of the container; source: path of the original model."""

    @property
    def output(self) -> Path: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102


class Writing(TypedDict, total=False):
    """How an output is written. force: replace an existing file; workers: who decodes the tensors of a folder, as for
    `--workers`.
    """

    force: bool
    workers: int | str


def decode(
    source: PathLike | Compressed,
    output: PathLike | None = None,
    *,
    to: str = "torch",
    mode: str = "dense",
    part: Part = WHOLE,
    **writing: Unpack[Writing],
) -> Any:
    """Decode a container into memory, or into the file `output` (.onnx, .safetensors, .npz, ...), or into a folder.

    to: without `output`, what to return: "torch" for a state dict for `Module.load_state_dict`, "numpy" for the same
    with arrays (neither needs a graph), "onnx" for a ModelProto. With `output`, the suffix decides the format, and a
    `qacomp.exporting.decoded.Decoded` is returned.
    mode: form of the weights in an ONNX file: "dense", "lut" or "affine".
    part: which network of a container with several, such as `qacomp.Part(level=16)` or `qacomp.Part(submodel="exit3")`.
    force: replace an existing file at `output`; workers: processes that decode the tensors of a folder (0: one a core),
    or the address of a Dask scheduler.

    Only to="torch" needs torch. Raises FormatError, ConfigError and OutputNotWritableError.
    """
    force, workers = writing.pop("force", False), workers_of(writing.pop("workers", None))
    if writing:
        raise TypeError(f"decode() got an unexpected keyword argument {next(iter(writing))!r}")
    if workers != ALONE and output is None:
        raise ConfigError("workers: only the tensors of a folder are decoded by several workers; give an output")
    path = Path(source if isinstance(source, str | os.PathLike) else source.output)
    if output is not None and url_of(output) is not None:
        with sent(Path(output), force=force) as place:
            count = workers.scheduler or workers.count
            return replace(decode(source, place, mode=mode, part=part, workers=count), output=Path(output))
    if output is not None:
        options = OnnxOptions(mode)
        read = [path] if isinstance(source, str | os.PathLike) else [path, Path(source.source)]
        claim_decoded(read, Path(output), options, "output", force=force)
        return decode_file(path, Path(output), part=part, onnx=options, workers=workers)
    if mode != "dense":
        raise ConfigError(f"mode = {mode!r}: is only for files; give an output, NAME.onnx")
    if to not in FORMS:
        raise ConfigError(f"to = {to!r}: must be one of {', '.join(FORMS)}; to write a file, give its path as output")
    with open_file(path, allow_truncated=part.allow_truncated) as container:
        container.read_ahead()
        level = level_of(container, part)
        if to == "onnx":
            with naming_extra("qacomp.decode(to='onnx')"):
                return onnx_model(container, level, part.submodel)
        if part.submodel is not None and level is None:
            raise ConfigError(f"submodel = {part.submodel!r}: has no state dict of its own; give to='onnx'")
        arrays, types = state_dict(container, level), container_types(container)
    if to == "numpy":
        return {name: as_numpy(array, types[name]) if name in types else array for name, array in arrays.items()}
    with naming_extra("qacomp.decode without to='numpy'"):
        from qacomp.tensors.torch_format import to_tensor
    return {name: to_tensor(array, types.get(name)) for name, array in arrays.items()}


@measured_together()
def decode_file(
    path: Path,
    output: Path,
    *,
    part: Part = WHOLE,
    onnx: OnnxOptions = DENSE,
    workers: Workers = ALONE,
    progress: Progress | None = None,
) -> Decoded:
    """Decode a part of the container `path` to the file `output`, in the format of its suffix.

    workers: who decodes the tensors if the output is a folder.

    Returns a Decoded with the largest error of the weights, which are read back from the file. Raises FormatError for a
    damaged container, ConfigError if the container can't be decoded so, and ExportError if the written file is wrong.
    """
    onnx.check()
    if onnx != DENSE and output.suffix != ".onnx":
        raise ConfigError(f"{output}: --onnx and --external-data are only for .onnx files; leave them out")
    with open_file(path, allow_truncated=part.allow_truncated) as container:
        options = DecodeOptions(part, onnx, workers, progress or SilentProgress())
        if to_folder(container, output):
            return write_folder(container, output, options)
        container.read_ahead()
        done = writer_for(output)(container, output, options)
    alone = "--workers has no effect: only the tensors of a folder are decoded by several workers"
    return done if workers == ALONE else replace(done, notes=(*done.notes, alone))


def claim_decoded(paths: Sequence[Path], output: Path, onnx: OnnxOptions, what: str, *, force: bool = False) -> None:
    """Raise an error unless the output can be written without losing a file; see `qacomp.outputs.claim`.

    paths: the container, then other files that are read. Raises FormatError for a damaged container.
    """
    with open_file(paths[0], allow_truncated=True) as container:
        if to_folder(container, output):
            claim_folder(output, command_files(paths), what, force=force)
            check_folder(container, output)
        else:
            claim(decoded_outputs(container, output, onnx.external, what), command_files(paths), force=force)


def to_folder(container: Container, output: Path) -> bool:
    """Return whether an output is a folder: the container was made from one, and the output isn't NAME.onnx or so."""
    return (output.is_dir() or output.suffix not in suffixes()) and is_folder(container)


def default_output(path: Path, *, allow_truncated: bool = False) -> Path:
    """Return `model.decoded.onnx` for `model.qac`, or `model.decoded.safetensors` if the container has no graph.

    For a container of a folder it is the folder `model.decoded`. The name differs from the usual names of the
    container's source. For a URL it is in the current folder.
    """
    url = url_of(path)
    path, asked = (path, path) if url is None else (Path(url_name(url)), path)
    plain = path.with_name(f"{path.name.removesuffix(SUFFIX)}.qac") if is_shard_index(path) else path
    with open_file(asked, allow_truncated=allow_truncated) as container:
        if is_folder(container):
            return plain.with_suffix(".decoded")
        return plain.with_suffix(".decoded.onnx" if container.graph() is not None else ".decoded.safetensors")
