"""A web server on the loopback that sends ranges of files, counts their bytes, and misbehaves on request."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class RangeServer:
    """What the server did, and how it behaves. sent: bytes of bodies; requests: (path, Range) in order.

    ranges: sends ranges; cut: sends so many bytes fewer than it says; wrong: sends the bytes one further on; packed:
    says that it packs; status: of each answer, if it isn't 0; moved: path -> where it redirects to.
    """

    folder: Path
    sent: int = 0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    etag: bool = True
    cut: int = 0
    wrong: bool = False
    packed: bool = False
    status: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    url: str = ""


@contextmanager
def range_server(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder until the block ends."""
    state = RangeServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            self.close_connection = True
            path = folder / self.path.lstrip("/")
            if self.path in state.moved:
                self.send_response(302)
                self.send_header("Location", state.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if state.status or not path.is_file():
                self.send_error(state.status or 404)
                return
            data = path.read_bytes()
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "") if state.ranges else None
            body = data
            if found is not None:
                start, stop = int(found[1]), min(int(found[2]) + 1, len(data))
                body = data[start + state.wrong : stop + state.wrong]
            self.send_response(200 if found is None else 206)
            if found is not None:
                self.send_header("Content-Range", f"bytes {start + state.wrong}-{stop - 1 + state.wrong}/{len(data)}")
            if state.packed:
                self.send_header("Content-Encoding", "gzip")
            if state.etag:
                self.send_header("ETag", f'"{sha256(data).hexdigest()[:16]}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = body[: len(body) - state.cut]
            state.sent += len(body)
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Say nothing of a client that closed the connection early."""

    server = Quiet(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
