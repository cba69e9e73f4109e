"""The files that a command will write, held against all that it reads before any work, so that nothing is lost."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from qacomp.errors import OutputExistsError, OutputIsInputError, OutputNotWritableError
from qacomp.formats import open_file
from qacomp.formats.destination import destination
from qacomp.formats.prefix import MAGIC
from qacomp.formats.system_errors import advice, words

_RESUME_MARK = b"fingerprint"  # the first key of what `qacomp.training.resume` keeps
_LARGE = 1 << 30  # bytes: below half of what a protobuf message holds no weights go into a second file
_SNAPSHOT = "epoch-*.pt"  # what the fine-tuning's checkpoints are called
_START = 4096  # bytes: more than any of these files needs to be told


@dataclass(frozen=True)
class Output:
    """A file to be written. `what`: the option that names it; `kind`: container, resume, or anything else.

    What is there already is replaced unasked only where it is of the same kind, a container or a resume file.
    """

    path: Path
    what: str = "-o"
    kind: str = ""


def container_outputs(path: Path, what: str = "-o") -> list[Output]:
    """Return a container and the file beside it in which a long run keeps its state."""
    return [Output(path, what, "container"), resume_output(path, what)]


def resume_output(path: Path, what: str = "-o") -> Output:
    """Return the file beside an output in which a long run keeps its state."""
    return Output(path.parent / f"{path.name}.resume", f"{what}, in which a long run keeps its state,", "resume")


def snapshot_outputs(
    folder: str | os.PathLike[str] | None, others: Iterable[Output], what: str = "--snapshots"
) -> list[Output]:
    """Return the checkpoints of an earlier run in a folder for snapshots, which this one may replace.

    Raises OutputIsInputError where one of the `others` may be a snapshot of this run.
    """
    if folder is None:
        return []
    for other in others:
        if other.path.match(_SNAPSHOT) and _identity(other.path.parent) == _identity(Path(folder)):
            raise OutputIsInputError(
                f"{other.path}: {other.what} has the name of a snapshot, and its folder; give another name"
            )
    return [Output(path, what) for path in sorted(Path(folder).glob(_SNAPSHOT))]


def decoded_outputs(container: Path, output: Path, external: bool, what: str = "-o") -> list[Output]:
    """Return a decoded file, and the file of its weights beside it, where one will or may be written.

    external: it is asked for; else it comes with models that one protobuf message can't hold.
    """
    beside, outputs = output.parent / f"{output.name}.data", [Output(output, what)]
    if output.suffix == ".onnx" and (external or (beside.exists() and _dense_bytes(container) >= _LARGE)):
        outputs.append(Output(beside, f"{what}, whose weights lie beside it,"))
    return outputs


def claim(outputs: Sequence[Output], inputs: Iterable[Path], *, force: bool = False) -> None:
    """Raise an error unless all `outputs` can be written without losing a file; nothing is written.

    OutputIsInputError: an output is one of the `inputs`, by another name, link or hard link too, or two outputs are one
    file; force doesn't help. OutputExistsError: something else stands there, and `force` isn't set.
    OutputNotWritableError: the folder is missing or closed, or what stands there is no regular file (a pipe, a device,
    a link to nothing). `inputs` is only iterated over where an output exists.
    """
    taken: dict[object, Output] = {}
    for output in outputs:
        check_writable(output.path)
        first = taken.setdefault(_identity(output.path), output)
        if first is not output:
            raise OutputIsInputError(
                f"{output.path}: {first.what} and {output.what} are the same file; give them different names"
            )
    there = {_identity(output.path): output for output in outputs if output.path.exists()}
    if not there:
        return
    for path in inputs:
        if (hit := there.get(_identity(path))) is not None:
            raise OutputIsInputError(f"{hit.path}: {hit.what} is {path}, which this command reads; give another name")
    for output in there.values():
        if not force and not _is_kind(output):
            raise OutputExistsError(
                f"{output.path}: exists already; give another name, or --force (from Python: force=True) to replace it"
            )


def check_writable(path: Path) -> None:
    """Raise OutputNotWritableError where `path` can't be created or replaced; nothing is written."""
    target = destination(path)
    folder = target.parent
    if not folder.is_dir():
        raise OutputNotWritableError(f"{path}: the folder {folder} doesn't exist; create it or change -o")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputNotWritableError(f"{path}: no permission to write in {folder}; change -o")


def make_folder(path: Path) -> None:
    """Make the folder `path` and those above it. Raises OutputNotWritableError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritableError(f"{path}: can't be made ({words(error)}); {advice(error)}") from error


def _identity(path: Path) -> object:
    """Return what two paths of one file have in common.

    Device and number of a file that is there; else those of its folder, and its name as file systems that don't tell
    case apart take it.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        try:
            resolved = Path(os.path.realpath(path))
        except ValueError:  # of a NUL or a lone surrogate: no file has that name
            return str(path)
        return _identity(resolved.parent), normalize("NFC", resolved.name).casefold()
    return status.st_dev, status.st_ino


def _dense_bytes(container: Path) -> int:
    """Return the bytes of all tensors of a container, each value taken as eight at most."""
    with open_file(container, allow_truncated=True) as opened:
        return sum(8 * opened.info(name).values for name in opened.names)


def _is_kind(output: Output) -> bool:
    """Return whether the existing file is of the kind that will be written, and so may be replaced."""
    if output.kind not in ("container", "resume"):
        return False
    try:
        with output.path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return False
    return start.startswith(MAGIC) if output.kind == "container" else start[:2] == b"PK" and _RESUME_MARK in start
