"""Fetch ranges of a file from a web server, and whole files, with the standard library."""

import contextlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from qacomp.errors import RemoteError
from qacomp.version import VERSION

_SECONDS = 60.0  # without any byte before a server counts as gone
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request. Raises RemoteError for a redirect to another kind of place."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after != "https" and (before, after) != ("http", "http"):
            raise RemoteError(f"{req.full_url}: redirects to {newurl[:100]!r}, which isn't followed; give a safe URL")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class HttpFile:
    """A file on a web server that sends ranges. stamp: its ETag, or the time of its last change, or empty."""

    name: str
    size: int
    stamp: str

    def fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop). Raises RemoteError, also if the file isn't the one that was opened."""
        data, size, stamp = _range(self.name, start, stop)
        if (size, stamp) != (self.size, self.stamp):
            raise RemoteError(f"{self.name}: changed on the server while it was read; start again")
        return data


def open_http(url: str) -> HttpFile:
    """Return a file on a web server. Raises RemoteError if it isn't there, or if the server doesn't send ranges."""
    _, size, stamp = _range(url, 0, 1)
    return HttpFile(url, size, stamp)


def pieces(url: str) -> Iterator[tuple[bytes, int | None]]:
    """Yield the pieces of a whole file, each with the file's size if the server tells it. Raises RemoteError."""
    with _answer(url, {}) as answer:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise RemoteError(f"{url}: the server packs the file; download it with a browser, and give the file")
        told = answer.headers.get("Content-Length")
        size = int(told) if told is not None and told.isdigit() else None
        done = 0
        while data := _read(url, answer, _PIECE):
            done += len(data)
            yield data, size
        if size is not None and done != size:
            raise _cut(url, done, size)


def _range(url: str, start: int, stop: int) -> tuple[bytes, int, str]:
    """Return bytes of a file, its size, and its ETag or time of change."""
    with _answer(url, {"Range": f"bytes={start}-{stop - 1}"}) as answer:
        if answer.status != 206:
            raise RemoteError(
                f"{url}: the server sends no parts of files (status {answer.status}); download the file, and give that"
            )
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or (int(found[1]), int(found[2])) != (start, min(stop, int(found[3])) - 1):
            raise RemoteError(f"{url}: the server sent other bytes than {start} to {stop}; download the file instead")
        data = b""
        while len(data) < stop - start and (more := _read(url, answer, stop - start - len(data))):
            data += more
    if len(data) != stop - start:
        raise _cut(url, len(data), stop - start)
    return data, int(found[3]), answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def _answer(url: str, headers: dict[str, str]) -> AbstractContextManager[Any]:
    """Open a URL. Raises RemoteError."""
    own = {"User-Agent": f"qacomp/{VERSION}", "Accept-Encoding": "identity", **headers}
    opener = urllib.request.build_opener(_Redirects)
    try:
        return contextlib.closing(opener.open(urllib.request.Request(url, headers=own), timeout=_SECONDS))
    except urllib.error.HTTPError as error:
        with error:
            raise RemoteError(f"{url}: the server answers {error.code} {error.reason}; check the URL") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise RemoteError(f"{url}: can't be reached ({' '.join(str(reason).split())[:200]}); check the URL") from error


def _read(url: str, answer: Any, most: int) -> bytes:
    try:
        data: bytes = answer.read(most)
    except http.client.IncompleteRead as error:
        raise _cut(url, len(error.partial), len(error.partial) + (error.expected or 0)) from error
    except (OSError, http.client.HTTPException) as error:
        raise RemoteError(f"{url}: the connection broke ({' '.join(str(error).split())[:200]}); start again") from error
    return data


def _cut(url: str, sent: int, wanted: int) -> RemoteError:
    return RemoteError(f"{url}: the server sent {sent:,} of {wanted:,} bytes; start again")
