"""Decode a container into memory, or into a file: what `qacomp.decode` does."""

import os
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from qacomp.errors import ConfigError
from qacomp.exporting.decoding import chosen_level, onnx_model
from qacomp.exporting.decoding import decode as decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.safetensors_decoding import container_types, state_dict
from qacomp.formats import open_file
from qacomp.outputs import claim, decoded_outputs
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
    level: int | None = None,
    submodel: str | None = None,
    allow_truncated: bool = False,
    force: bool = False,
) -> Any:
    """Decode a container: into memory, or into the file `output` (.onnx or .safetensors).

    to: torch gives a state dict for `Module.load_state_dict`, numpy the same as arrays (neither needs a graph), onnx a
    ModelProto. With `output` the suffix says what it becomes, and the answer is a `qacomp.exporting.decoded.Decoded`.
    mode: of an ONNX file, how it holds the weights: dense, lut or affine.
    level: of a progressive container, the one with this many shared values; submodel: of several networks in one, that
    one alone (level4, exit3, width0.5; the last two have no state dict of their own, only ONNX); allow_truncated: take
    a file that is cut off behind a level; force: replace a file that stands at `output`.

    Only torch needs torch. Raises FormatError, ConfigError, OutputNotWritableError.
    """
    path = Path(source if isinstance(source, str | os.PathLike) else source.output)
    if output is not None:
        options = OnnxOptions(mode)
        read = [path] if isinstance(source, str | os.PathLike) else [path, Path(source.source)]
        claim(decoded_outputs(path, Path(output), options.external, "output"), command_files(read), force=force)
        return decode_file(
            path,
            Path(output),
            measure=False,
            level=level,
            submodel=submodel,
            allow_truncated=allow_truncated,
            onnx=options,
        )
    if mode != "dense":
        raise ConfigError(f"mode = {mode!r} is for files: give an output, NAME.onnx")
    if to not in FORMS:
        raise ConfigError(f"to = {to!r}: must be one of {', '.join(FORMS)}; for a file give its name as output")
    with open_file(path, allow_truncated=allow_truncated) as container:
        index = chosen_level(container, level, submodel, str(path))
        if to == "onnx":
            return onnx_model(container, str(path), index, submodel)
        if submodel is not None and index is None:
            raise ConfigError(f"submodel = {submodel!r}: take to='onnx'; a state dict is of the whole network")
        arrays, types = state_dict(container, index), container_types(container)
    if to == "numpy":
        return {name: as_numpy(array, types[name]) if name in types else array for name, array in arrays.items()}
    from qacomp.tensors.torch_format import to_tensor

    return {name: to_tensor(array, types.get(name)) for name, array in arrays.items()}
