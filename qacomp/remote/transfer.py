"""Fetch a model by URL to this machine before it is compressed, and send outputs to a URL after they were written."""

import contextlib
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qacomp.errors import OutputExistsError, RemoteError
from qacomp.folders.listing import COPIES
from qacomp.folders.paths import path_problem, paths_problem
from qacomp.formats.atomic import write_atomically
from qacomp.progress import Progress
from qacomp.remote.files import explained, filesystem
from qacomp.remote.http import pieces
from qacomp.remote.urls import url_name, url_of

_PIECE = 1 << 22
_UNSENT = ("*.journal", "*.resume", ".qacomp-*")


@contextlib.contextmanager
def fetched(path: Path, progress: Progress) -> Iterator[Path]:
    """Yield a path of this machine for a path or URL.

    Of a repository hf://org/name that is the snapshot in the cache of Hugging Face; of any other file or folder a copy,
    which is removed after the block.

    Raises RemoteError if it can't be fetched, or if a name in it can't be that of a file here.
    """
    url = url_of(path)
    if url is None:
        yield path
        return
    if (repository := _repository(url)) is not None:
        yield _snapshot(url, *repository)
        return
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        target = Path(folder) / url_name(url)
        if (problem := path_problem(target.name)) is not None:
            raise RemoteError(f"{url}: its name {problem}; download it, and give the file")
        if url.startswith(("http://", "https://")):
            _download(url, target, progress)
        else:
            _copy(url, target, progress)
        yield target


@contextlib.contextmanager
def sent(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a path of this machine to write to; if `target` is a URL, what was written there is sent after the block.

    Files that belong to an output, such as shards, are sent first, the output itself last. Raises RemoteError, before
    the block too, if the URL can't be written to, and OutputExistsError if something is there and `force` isn't set.
    """
    url = url_of(target)
    if url is None:
        yield target
        return
    target_of(url, force=force)
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        local = Path(folder) / url_name(url)
        yield local
        send(local, url)


def target_of(url: str, *, force: bool = False) -> tuple[Any, str]:
    """Return (file system of fsspec, path in it) of a URL to write to. Raises as `sent` does."""
    if url.startswith(("http://", "https://")):
        raise RemoteError(f"{url}: a web server can't be written to; give another place, such as s3:// or hf://")
    fs, path = filesystem(url)
    with explained(url):
        there = fs.exists(path)
    if there and not force:
        raise OutputExistsError(f"{url}: exists already; give another name, or --force (from Python: force=True)")
    return fs, path


def send(local: Path, url: str) -> None:
    """Send an output, and all files beside it except those of a run, to a URL. Raises RemoteError."""
    fs, path = target_of(url, force=True)
    folder, above = local.parent, path.rstrip("/").rpartition("/")[0]
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    files = [file for file in files if not any(fnmatchcase(file.name, pattern) for pattern in _UNSENT)]
    for file in sorted(files, key=lambda file: (file == local, file.name.endswith(".index.json"))):
        place = f"{above}/{file.relative_to(folder).as_posix()}"
        with explained(url):
            with contextlib.suppress(NotImplementedError):
                fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            fs.put_file(str(file), place)


def _repository(url: str) -> tuple[str, str | None] | None:
    """Return (org/name, revision) of hf://org/name@revision; None for another URL, also for a file in a repository."""
    scheme, _, rest = url.partition("://")
    parts = rest.strip("/").split("/")
    if scheme != "hf" or len(parts) != 2 or parts[0] in ("datasets", "spaces", "buckets"):
        return None
    name, _, revision = "/".join(parts).partition("@")
    return name, revision or None


def _snapshot(url: str, name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise RemoteError(f"{url}: needs the package huggingface-hub; pip install 'qacomp[hub]'") from error
    with explained(url):
        return Path(snapshot_download(name, revision=revision, ignore_patterns=list(COPIES)))


def _download(url: str, target: Path, progress: Progress) -> None:
    stream = pieces(url)
    first, size = next(stream, (b"", 0))
    with progress.task(f"fetching {target.name}", size or 0) as task:

        def counted() -> Iterator[bytes]:
            data: bytes = first
            while True:
                yield data
                task.advance(len(data))
                try:
                    data, _ = next(stream)
                except StopIteration:
                    return

        write_atomically(target, counted())


def _copy(url: str, target: Path, progress: Progress) -> None:
    """Copy a file, or a folder with its subfolders, that fsspec reads."""
    fs, path = filesystem(url)
    with explained(url):
        found: dict[str, Any] = fs.find(path, detail=True)
    if list(found) == [path] or (not fs.isdir(path) and found):
        places = {target: next(iter(found))}
    else:
        inner = {name[len(path.rstrip("/")) + 1 :]: name for name in found}
        inner = {name: full for name, full in inner.items() if not any(fnmatchcase(Path(name).name, c) for c in COPIES)}
        if (problem := paths_problem(inner)) is not None:
            raise RemoteError(f"{url}: the file {problem}; download the folder, and rename it")
        places = {target / name: full for name, full in inner.items()}
    if not places:
        raise RemoteError(f"{url}: there is nothing; check the URL")
    with progress.task(
        f"fetching {target.name}", sum(found[full].get("size") or 0 for full in places.values())
    ) as task:
        for local, full in places.items():
            local.parent.mkdir(parents=True, exist_ok=True)
            with explained(url):
                fs.get_file(full, str(local))
            size = found[full].get("size")
            if size is not None and local.stat().st_size != size:
                raise RemoteError(f"{url}: {full} has {local.stat().st_size:,} of {size:,} bytes; start again")
            task.advance(size or 0)
