"""List what lies in a model's folder: files of weights, files that are carried as they are, and what is left out."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qacomp.errors import NotACheckpointError
from qacomp.folders.paths import MOST_FILES, path_problem, paths_problem
from qacomp.formats.system_errors import advice, words

LARGEST_FILE = 256 << 20  # bytes; the largest tokenizers of 2026 have about 40 MB
LARGEST_TOTAL = 1 << 30  # bytes of all carried files together
_MOST_ENTRIES = 1 << 16  # of a folder and all its subfolders, those that are left out too
WEIGHTS = ".safetensors"
_CONFIGS = {"config.json", "model_index.json"}  # of a model, and of a pipeline with models in subfolders
_LEFT_OUT = {".git", ".cache", "__pycache__", ".ipynb_checkpoints"}
COPIES = (
    *("pytorch_model*.bin", "pytorch_model*.bin.index.json", "tf_model*.h5", "tf_model*.h5.index.json"),
    *("flax_model*.msgpack", "flax_model*.msgpack.index.json", "rust_model.ot", "consolidated*.pth", "*.gguf"),
    *("diffusion_pytorch_model*.bin", "*.qac", "*.qac.journal", "*.qac.resume", "*.qac.index.json"),
)
"""Names of the same weights in other formats, as the usual libraries write them, and of containers."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder, by relative paths with slashes, sorted.

    weights: the .safetensors files; carried: all others that are carried, with their sizes in bytes; left_out: path
    (with a slash at the end for a folder) -> why it isn't carried.
    """

    folder: Path
    weights: tuple[str, ...]
    carried: dict[str, int]
    left_out: dict[str, str]

    @property
    def paths(self) -> list[str]:
        """Return all files that a container of the folder holds."""
        return sorted([*self.weights, *self.carried])

    def notes(self) -> tuple[str, ...]:
        """Return a remark that names what is left out, by reason; none if nothing is."""
        reasons: dict[str, list[str]] = {}
        for path, why in self.left_out.items():
            reasons.setdefault(why, []).append(path)
        return tuple(f"left out of the container, {why}: {_few(paths)}" for why, paths in reasons.items())


def list_folder(folder: Path) -> Listing:
    """List a model's folder with its subfolders; nothing is read.

    Raises NotACheckpointError for a folder without .safetensors files, with a path that a container can't carry, with a
    link that leaves it (except into the blobs of the Hugging Face cache that it is a snapshot of), and with too many
    files.
    """
    try:
        names = os.listdir(folder)
        known = any(name.endswith(WEIGHTS) or name in _CONFIGS for name in names)
        found = list(_walk(folder)) if known else []  # so that a mistaken / isn't searched
    except OSError as error:
        raise NotACheckpointError(f"{folder}: can't be read ({words(error)}); {advice(error)}") from error
    left_out = {path: why for path, _, why in found if why}
    taken = {path: size for path, size, why in found if not why}
    weights = tuple(sorted(path for path in taken if path.endswith(WEIGHTS)))
    if not weights:
        raise NotACheckpointError(
            f"{folder}: is a folder without {WEIGHTS} files; give the checkpoint file in it, or save the model with "
            "save_pretrained"
        )
    carried, total = {}, 0
    for path in sorted(taken.keys() - set(weights)):
        if taken[path] > LARGEST_FILE or total + taken[path] > LARGEST_TOTAL:
            left_out[path] = f"too large ({LARGEST_FILE >> 20} MiB a file, {LARGEST_TOTAL >> 30} GiB together)"
        else:
            carried[path] = taken[path]
            total += taken[path]
    if len(weights) + len(carried) > MOST_FILES:
        raise NotACheckpointError(f"{folder}: has more than {MOST_FILES} files; is it the folder of one model?")
    if (problem := paths_problem([*weights, *carried])) is not None:
        raise NotACheckpointError(f"{folder}: the file {problem}; rename it, or move it out of the folder")
    return Listing(folder, weights, carried, dict(sorted(left_out.items())))


def _walk(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (path, size, why it is left out or empty) of each file, and of each folder that is left out."""
    waiting, entries = [""], 0
    while waiting:
        inner = waiting.pop()
        with os.scandir(folder / inner) as listed:
            for entry in listed:
                entries += 1
                if entries > _MOST_ENTRIES:
                    raise NotACheckpointError(f"{folder}: has over {_MOST_ENTRIES} files; is it the folder of a model?")
                path = f"{inner}{entry.name}"
                if entry.is_symlink():
                    _check_link(folder, path)
                status = entry.stat()
                if stat.S_ISDIR(status.st_mode):
                    if entry.name in _LEFT_OUT:
                        yield f"{path}/", 0, "no part of the model"
                    elif entry.is_symlink():
                        yield f"{path}/", 0, "a link to a folder"
                    elif (problem := path_problem(path)) is not None:
                        raise NotACheckpointError(f"{folder}: the folder {path[:80]!r} {problem}; rename it")
                    else:
                        waiting.append(f"{path}/")
                elif not stat.S_ISREG(status.st_mode):
                    yield path, 0, "not a regular file"
                elif any(fnmatchcase(entry.name, pattern) for pattern in COPIES):
                    yield path, status.st_size, "weights in another format"
                else:
                    yield path, status.st_size, ""


def _check_link(folder: Path, path: str) -> None:
    """Raise NotACheckpointError for a link that leads out of the folder, or nowhere."""
    root, target = Path(os.path.realpath(folder)), Path(os.path.realpath(folder / path))
    cache = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if not (target.is_relative_to(root) or target.is_relative_to(cache)):
        raise NotACheckpointError(
            f"{folder}: {path[:80]} is a link to {str(target)[:200]}, outside of the folder; copy the file into it, or "
            "remove the link"
        )
    if not target.exists():
        raise NotACheckpointError(f"{folder}: {path[:80]} is a link to nothing; remove it")


def _few(paths: list[str], most: int = 4) -> str:
    return ", ".join(path[:80] for path in paths[:most]) + (f" and {len(paths) - most} more" if paths[most:] else "")
