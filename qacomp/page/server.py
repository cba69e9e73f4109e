"""Serve the page on this machine alone, from a table of files: no request names a path of the disk."""

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from qacomp.errors import ConfigError
from qacomp.formats.errors import IrregularFileError
from qacomp.formats.regular import open_regular
from qacomp.formats.system_errors import words
from qacomp.page.files import PageFiles, type_of
from qacomp.page.policy import headers
from qacomp.page.ranges import wanted_range

HOST = "127.0.0.1"
_PIECE = 1 << 14  # bytes that are sent at a time
_PATIENCE_S = 30.0  # a connection without a request is closed


class PageServer(ThreadingHTTPServer):
    """A server of one page. Requests come from this machine, for this machine's name: no other site's page reads it."""

    daemon_threads = True

    def __init__(self, page: PageFiles, port: int) -> None:
        self.page = page
        try:
            super().__init__((HOST, port), _Answer)
        except OSError as error:
            raise ConfigError(f"--port {port}: can't be used ({words(error)}); give another, or 0 for any") from error

    @property
    def address(self) -> str:
        """Return the address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave out what went wrong with one connection: most often the browser has closed it."""

    def sending(self, place: str, size: int) -> None:
        """Do nothing before a piece of a file is sent; a slower server waits here."""


class _Answer(BaseHTTPRequestHandler):
    """Answer GET and HEAD for the files of the table."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "qacomp", ""
    timeout = _PATIENCE_S
    server: PageServer

    def do_GET(self) -> None:
        """Answer with a file, or with a part of it."""
        self._answer(send=True)

    def do_HEAD(self) -> None:
        """Answer with the headers of GET alone."""
        self._answer(send=False)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a request isn't worth a line."""

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        for name, value in headers().items():
            self.send_header(name, value)
        super().end_headers()

    def _answer(self, *, send: bool) -> None:
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        place = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        content = self.server.page.places.get(place)
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            file = io.BytesIO(content) if isinstance(content, bytes) else open_regular(content)
        except (OSError, IrregularFileError):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            size = file.seek(0, os.SEEK_END)
            part = wanted_range(self.headers.get("Range"), size)
            self._start(place, size, part)
            if part is not None and send:
                self._send(place, file, part)

    def _send(self, place: str, file: io.BufferedIOBase, part: tuple[int, int]) -> None:
        """Send a part of a file, piece by piece."""
        file.seek(part[0])
        left = part[1] - part[0]
        while left and (piece := file.read(min(left, _PIECE))):
            self.server.sending(place, len(piece))
            self.wfile.write(piece)
            left -= len(piece)
        self.close_connection = self.close_connection or left > 0  # the file has become shorter

    def _start(self, place: str, size: int, part: tuple[int, int] | None) -> None:
        """Send the status and the headers."""
        whole = part == (0, size)
        if part is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            part = (0, 0)
        else:
            self.send_response(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT)
            if not whole:
                self.send_header("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{size}")
        self.send_header("Content-Type", type_of(place))
        self.send_header("Content-Length", str(part[1] - part[0]))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()


@contextlib.contextmanager
def serving(server: PageServer) -> Iterator[str]:
    """Serve from a thread of its own while the block runs, and yield the address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
