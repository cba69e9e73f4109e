"""Decode a container: into memory, or into a file whose suffix says what it becomes. Needs no torch, but for tensors.

`decode` is what users call. `decode_file` writes a file; the writer of its format does the work. Nothing is measured
here: `qacomp.exporting.decoded_measuring` does that with what `decode_file` gives.
"""

import os
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from qacomp.errors import ConfigError
from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.onnx_model import onnx_model
from qacomp.exporting.onnx_options import DENSE, OnnxOptions
from qacomp.exporting.output_formats import writer_for
from qacomp.exporting.part import WHOLE, Part, level_of
from qacomp.exporting.safetensors_file import container_types, state_dict
from qacomp.formats import open_file
from qacomp.outputs import claim, decoded_outputs
from qacomp.runtime.limits import measured_together
from qacomp.sources.input_files import command_files
from qacomp.tensors.foreign_dtypes import as_numpy

PathLike: TypeAlias = str | os.PathLike[str]
FORMS = ("torch", "numpy", "onnx")


class Compressed(Protocol):
    """A finished compression, as far as decoding asks: where the container is, and what it was made from."""

    @property
    def output(self) -> Path: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102


def decode(
    source: PathLike | Compressed,
    output: PathLike | None = None,
    *,
    to: str = "torch",
    mode: str = "dense",
    part: Part = WHOLE,
    force: bool = False,
) -> Any:
    """Decode a container: into memory, or into the file `output` (.onnx, .safetensors, .npz, ...).

    to: torch gives a state dict for `Module.load_state_dict`, numpy the same as arrays (neither needs a graph), onnx a
    ModelProto. With `output` the suffix says what it becomes, and the answer is a `qacomp.exporting.decoded.Decoded`.
    mode: of an ONNX file, how it holds the weights: dense, lut or affine.
    part: of a container with several networks, which one; `qacomp.Part(level=16)`, `qacomp.Part(submodel="exit3")`.
    force: replace a file that stands at `output`.

    Only torch needs torch. Raises FormatError, ConfigError, OutputNotWritableError.
    """
    path = Path(source if isinstance(source, str | os.PathLike) else source.output)
    if output is not None:
        options = OnnxOptions(mode)
        read = [path] if isinstance(source, str | os.PathLike) else [path, Path(source.source)]
        claim(decoded_outputs(path, Path(output), options.external, "output"), command_files(read), force=force)
        return decode_file(path, Path(output), part=part, onnx=options)
    if mode != "dense":
        raise ConfigError(f"mode = {mode!r} is for files: give an output, NAME.onnx")
    if to not in FORMS:
        raise ConfigError(f"to = {to!r}: must be one of {', '.join(FORMS)}; for a file give its name as output")
    with open_file(path, allow_truncated=part.allow_truncated) as container:
        level = level_of(container, part)
        if to == "onnx":
            return onnx_model(container, level, part.submodel)
        if part.submodel is not None and level is None:
            raise ConfigError(f"submodel = {part.submodel!r}: take to='onnx'; a state dict is of the whole network")
        arrays, types = state_dict(container, level), container_types(container)
    if to == "numpy":
        return {name: as_numpy(array, types[name]) if name in types else array for name, array in arrays.items()}
    from qacomp.tensors.torch_format import to_tensor

    return {name: to_tensor(array, types.get(name)) for name, array in arrays.items()}


@measured_together()
def decode_file(path: Path, output: Path, *, part: Part = WHOLE, onnx: OnnxOptions = DENSE) -> Decoded:
    """Decode a part of the container `path` to `output`, whose suffix says what it becomes.

    Returns the file with how far its weights, read back, are from the container's. Raises FormatError for a bad
    container, ConfigError for what can't be made of it, ExportError where the file doesn't hold what it should.
    """
    write = writer_for(output)
    onnx.check()
    if onnx != DENSE and output.suffix != ".onnx":
        raise ConfigError(f"{output}: --onnx and --external-data are for .onnx files")
    with open_file(path, allow_truncated=part.allow_truncated) as container:
        return write(container, output, DecodeOptions(part, onnx))


def default_output(path: Path, *, allow_truncated: bool = False) -> Path:
    """Return `model.decoded.onnx` for `model.qac`, or `model.decoded.safetensors` where the container holds no graph.

    It is never the name that the source of the container is likely to have.
    """
    with open_file(path, allow_truncated=allow_truncated) as container:
        return path.with_suffix(".decoded.onnx" if container.graph() is not None else ".decoded.safetensors")
