"""Read a model file of any kind: an ONNX model with its graph, everything else as a checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.checkpoints.recognition import is_onnx
from qacomp.errors import ConfigError, ExportError, UnsafePickleError

if TYPE_CHECKING:
    from qacomp.checkpoints import Checkpoint
    from qacomp.graphs.reading import OnnxFile

_HOW_TO_EXPORT = "to export its graph to ONNX as well, give --trust-pickle and --input (the shapes that forward takes)"


def read_model(
    path: Path,
    *,
    trust_pickle: bool = False,
    inputs: Sequence[str] = (),
    submodule: str | None = None,
    key: str | None = None,
) -> "Checkpoint | OnnxFile":
    """Read the model file `path`; its kind is recognized by its content.

    With trust_pickle torch exports the graph of a program to ONNX, which runs the program's code. A torch.export
    archive knows its inputs; a TorchScript archive and a pickled module need `inputs` (see
    `qacomp.sources.example_inputs`), and `submodule` may name a part of them. key: see `read_checkpoint`. Raises the
    errors of `read_checkpoint`, `read_onnx` and `export_module`, and UnsafePickleError for `inputs` of a TorchScript
    archive without trust_pickle.
    """
    if is_onnx(path):
        from qacomp.graphs.reading import read_onnx

        if key is not None:
            raise ConfigError(f"--key {key}: {path} is an ONNX model, which has no keys; leave --key out")
        return read_onnx(path)
    from qacomp.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(path, trust_pickle=trust_pickle, key=key)
    scripted, exported = checkpoint.kind == "torchscript", checkpoint.kind == "exported program"
    if not trust_pickle:
        if inputs and scripted:
            raise UnsafePickleError(
                f"{path}: --input exports a TorchScript archive by running its code; if you trust its author, give "
                "--trust-pickle too"
            )
        hint = "to export its graph to ONNX as well, give --trust-pickle" if exported else _HOW_TO_EXPORT
        return replace(checkpoint, notes=(*checkpoint.notes, hint)) if scripted or exported else checkpoint
    if key is not None and (exported or inputs):
        raise ConfigError(f"--key {key}: names weights in a checkpoint; to export a part of a program give --submodule")
    if exported:
        from qacomp.sources.programs import export_archive

        try:
            return export_archive(path)
        except ExportError as error:
            return replace(checkpoint, notes=(*checkpoint.notes, str(error)))
    if scripted and inputs:
        from qacomp.sources.programs import export_torchscript

        return export_torchscript(path, inputs, submodule)
    if checkpoint.module is not None and inputs:
        from qacomp.models.plain_modules import plain_module
        from qacomp.sources.programs import export_module

        plain = plain_module(checkpoint.module, path)
        made = export_module(plain.module, inputs, submodule, path, "exported module")
        return replace(made, digest=checkpoint.digest, bytes=checkpoint.bytes, notes=(*plain.notes, *made.notes))
    return replace(checkpoint, notes=(*checkpoint.notes, _HOW_TO_EXPORT)) if scripted else checkpoint
