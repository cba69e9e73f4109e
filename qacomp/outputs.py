"""Check, before any work, that a command can write its outputs without overwriting its inputs or other files."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from qacomp.errors import OutputExistsError, OutputIsInputError, OutputNotWritableError
from qacomp.formats import Container
from qacomp.formats.destination import destination
from qacomp.formats.prefix import CONTAINER, DELTA
from qacomp.formats.shard_index import INDEX_START, is_shard_index
from qacomp.formats.shard_writer import shard_files
from qacomp.formats.system_errors import advice, words

JOURNAL_MARK = b"qacomp journal 1\n"
"""The start of a file of `qacomp.stages.journal`."""
_RESUME_MARK = b"fingerprint"  # the first key of a file of `qacomp.training.resume`
_LARGE = 1 << 30  # bytes, half of what a protobuf message can hold; smaller models need no second file for weights
_SNAPSHOT = "epoch-*.pt"  # names of the checkpoints of --snapshots
_START = 4096  # bytes of a file that are enough to recognise its kind


@dataclass(frozen=True)
class Output:
    """A file to be written. what: the option that names it, for messages; kind: container, resume, journal or another.

    An existing file is replaced without --force only if it is one of these kinds too, and of the same one.
    """

    path: Path
    what: str = "-o"
    kind: str = ""


def container_outputs(path: Path, what: str = "-o") -> list[Output]:
    """Return a container and its two resume files, in which a long run saves its state and keeps its trials.

    If the path is that of an index of shards, the shards that lie beside it are outputs too.
    """
    journal = Output(journal_path(path), f"{what}, which keeps the trials of a long run,", "journal")
    shards = shard_files(path) if is_shard_index(path) else []
    before = [Output(file, f"{what}, of which it is a shard,", "container") for file in shards]
    return [Output(path, what, "container"), *before, resume_output(path, what), journal]


def journal_path(path: Path) -> Path:
    """Return the path of an output's journal, NAME.journal beside it."""
    return path.parent / f"{path.name}.journal"


def pieces_path(path: Path) -> Path:
    """Return the path of the folder beside an output that keeps its finished tensors while it is made."""
    return path.parent / f"{path.name}.tensors"


def resume_output(path: Path, what: str = "-o") -> Output:
    """Return the resume file of an output, NAME.resume beside it, in which a long run saves its state."""
    return Output(path.parent / f"{path.name}.resume", f"{what}, which keeps the state of a long run,", "resume")


def snapshot_outputs(
    folder: str | os.PathLike[str] | None, others: Iterable[Output], what: str = "--snapshots"
) -> list[Output]:
    """Return the snapshots of an earlier run in a folder, which this run may replace.

    Raises OutputIsInputError if one of the other outputs is in the folder and has the name of a snapshot.
    """
    if folder is None:
        return []
    for other in others:
        if other.path.match(_SNAPSHOT) and _identity(other.path.parent) == _identity(Path(folder)):
            raise OutputIsInputError(
                f"{other.path}: {other.what} has the name of a snapshot in the snapshots' folder; give another name"
            )
    return [Output(path, what) for path in sorted(Path(folder).glob(_SNAPSHOT))]


def decoded_outputs(container: Container, output: Path, external: bool, what: str = "-o") -> list[Output]:
    """Return a decoded file and, if it will or may be written, the file NAME.data with its weights.

    external: the user requested NAME.data; without that it is written for models too large for one protobuf message.
    """
    beside, outputs = output.parent / f"{output.name}.data", [Output(output, what)]
    if output.suffix == ".onnx" and (external or (beside.exists() and _dense_bytes(container) >= _LARGE)):
        outputs.append(Output(beside, f"{what}, the file of its weights,"))
    return outputs


def claim(outputs: Sequence[Output], inputs: Iterable[Path], *, force: bool = False) -> None:
    """Raise an error unless all `outputs` can be written without losing a file; nothing is written.

    Raises OutputIsInputError if an output is one of the inputs (also under another name or through a link), or if two
    outputs are the same file, whether `force` is set or not; OutputExistsError if another file exists at an
    output's path and `force` isn't set; OutputNotWritableError if the folder is missing or not writable, or if the
    path isn't a regular file (but a pipe, a device or a link to nothing). `inputs` is iterated over only if an
    output exists.
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


def claim_folder(output: Path, inputs: Iterable[Path], what: str = "-o", *, force: bool = False) -> None:
    """Raise an error unless the folder `output` can be written; one with files in it is replaced only with `force`.

    Raises OutputIsInputError if an input is that folder, or lies in it or above it; OutputExistsError; and
    OutputNotWritableError if the folder above is missing or not writable.
    """
    real = Path(os.path.realpath(output))
    if not real.parent.is_dir() or not os.access(real.parent, os.W_OK | os.X_OK):
        raise OutputNotWritableError(f"{output}: the folder {real.parent} doesn't exist, or can't be written in")
    if not output.is_dir() or not any(output.iterdir()):
        return
    for path in inputs:
        if Path(os.path.realpath(path)).is_relative_to(real):
            raise OutputIsInputError(f"{output}: {path}, which this command reads, lies in {what}; give another name")
    if not force:
        raise OutputExistsError(
            f"{output}: has files in it; give a new folder, or --force (from Python: force=True) to replace them"
        )


def check_writable(path: Path) -> None:
    """Raise OutputNotWritableError if `path` can't be created or replaced; nothing is written."""
    target = destination(path)
    folder = target.parent
    if not folder.is_dir():
        raise OutputNotWritableError(f"{path}: the folder {folder} doesn't exist; create it, or choose another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputNotWritableError(f"{path}: no permission to write in {folder}; choose another path")


def make_folder(path: Path) -> None:
    """Create the folder `path` and its parents. Raises OutputNotWritableError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritableError(f"{path}: can't be created ({words(error)}); {advice(error)}") from error


def _identity(path: Path) -> object:
    """Return a value that is equal for two paths of the same file.

    For an existing file that is its device and inode number. Else it is the identity of its folder and its name,
    normalized as on file systems that ignore case.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        try:
            resolved = Path(os.path.realpath(path))
        except ValueError:  # a NUL or a lone surrogate in the name: no file can have it
            return str(path)
        return _identity(resolved.parent), normalize("NFC", resolved.name).casefold()
    return status.st_dev, status.st_ino


def _dense_bytes(container: Container) -> int:
    """Return an upper bound of the decoded bytes of all tensors of a container: eight for each value."""
    return sum(8 * container.info(name).values for name in container.names)


def _is_kind(output: Output) -> bool:
    """Return whether the existing file is of one of qacomp's kinds, as the output is, and so may be replaced."""
    if output.kind not in ("container", "delta", "resume", "journal"):
        return False
    try:
        with output.path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return False
    if output.kind == "resume":
        return start[:2] == b"PK" and _RESUME_MARK in start
    if output.kind == "container" and is_shard_index(output.path):
        return start.startswith(INDEX_START)
    starts = {"container": CONTAINER.magic, "delta": DELTA.magic, "journal": JOURNAL_MARK}
    return start.startswith(starts[output.kind])
