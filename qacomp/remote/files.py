"""Read files through fsspec, which knows hf://, s3:// and others; only here it is imported."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qacomp.errors import RemoteError


@dataclass(frozen=True)
class FsspecFile:
    """A file that fsspec reads. stamp: what tells one version of it from another; fs, path: of fsspec."""

    name: str
    size: int
    stamp: str
    fs: Any
    path: str

    def fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop). Raises RemoteError, also if the file isn't the one that was opened."""
        with explained(self.name):
            with self.fs.open(self.path, "rb", cache_type="none") as file:
                file.seek(start)
                data: bytes = file.read(stop - start)
            self.fs.invalidate_cache()
            now = self.fs.info(self.path)
        if (now.get("size"), _stamp(now)) != (self.size, self.stamp):
            raise RemoteError(f"{self.name}: changed while it was read; start again")
        if len(data) != stop - start:
            raise RemoteError(f"{self.name}: ends after {start + len(data):,} of {self.size:,} bytes; start again")
        return data


def open_fsspec(url: str) -> FsspecFile:
    """Return a file that fsspec reads. Raises RemoteError if it isn't there or can't be read."""
    fs, path = filesystem(url)
    with explained(url):
        info = fs.info(path)
    if info.get("type") == "directory" or not isinstance(info.get("size"), int):
        raise RemoteError(f"{url}: is no file; give the URL of one")
    return FsspecFile(url, info["size"], _stamp(info), fs, path)


def filesystem(url: str) -> tuple[Any, str]:
    """Return (file system of fsspec, path in it) of a URL. Raises RemoteError, which names a missing package."""
    try:
        from fsspec.core import url_to_fs

        fs, path = url_to_fs(url)
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        raise RemoteError(f"{url}: needs another package ({reason}); pip install 'qacomp[hub]'") from error
    except Exception as error:  # fsspec and its file systems raise error classes of their own
        raise RemoteError(f"{url}: can't be opened ({_said(error)}); check the URL") from error
    return fs, path


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn any error of a file system into a RemoteError of one line; there are many classes of them."""
    try:
        yield
    except RemoteError:
        raise
    except Exception as error:
        raise RemoteError(f"{url}: {_said(error)}; check the URL, and that you may access it") from error


def _said(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _stamp(info: dict[str, Any]) -> str:
    keys = ("ETag", "etag", "blob_id", "mtime", "LastModified", "last_modified", "created", "ino")
    return " ".join(str(info[key]) for key in keys if info.get(key) is not None)
