"""The server of the page: its own files alone, in parts too, for this machine's name alone."""

import http.client
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_model import write_digits

from qacomp.errors import ConfigError
from qacomp.page import PageServer, page_files, serving
from qacomp.page.policy import policy
from qacomp.page.ranges import wanted_range


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("page") / "digits.qac")


@pytest.fixture(scope="module")
def server(container: Path) -> Iterator[PageServer]:
    with PageServer(page_files(container), 0) as made, serving(made):
        yield made


def ask(
    server: PageServer, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_files_come_with_their_types_and_the_policy(server: PageServer, container: Path) -> None:
    types = {"/": "text/html; charset=utf-8", "/main.js": "text/javascript; charset=utf-8"}
    types |= {"/reader/index.js": "text/javascript; charset=utf-8", "/page.css?x#y": "text/css; charset=utf-8"}
    for path, kind in types.items():
        answer, body = ask(server, path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind) and body
        assert answer.headers["Content-Security-Policy"] == f"{policy()}; frame-ancestors 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, body = ask(server, "/model.qac")
    assert body == container.read_bytes() and answer.headers["Accept-Ranges"] == "bytes"
    answer, body = ask(server, "/model.qac", method="HEAD")
    assert body == b"" and answer.headers["Content-Length"] == str(container.stat().st_size)


def test_parts_of_the_container(server: PageServer, container: Path) -> None:
    data = container.read_bytes()
    for header, part in (("bytes=3-9", data[3:10]), ("bytes=100000-", data[100000:]), ("bytes=-7", data[-7:])):
        answer, body = ask(server, "/model.qac", {"Range": header})
        assert answer.status == 206 and body == part
        start = data.index(part)
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{len(data)}"
    answer, body = ask(server, "/model.qac", {"Range": f"bytes={len(data)}-"})
    assert answer.status == 416 and body == b"" and answer.headers["Content-Range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, (0, 10)), ("bytes=0-0", (0, 1)), ("bytes=9-99", (9, 10)), ("bytes=-99", (0, 10)), ("bytes=-0", None),
        ("bytes=10-", None), ("bytes=5-2", (0, 10)), ("bytes=1-2,4-5", (0, 10)), ("items=1-2", (0, 10)),
        ("bytes=-", (0, 10)), (f"bytes={'9' * 99}-", (0, 10)),
    ],
)  # fmt: skip
def test_ranges(header: str | None, part: tuple[int, int] | None) -> None:
    assert wanted_range(header, 10) == part


def test_nothing_else_is_served(server: PageServer) -> None:
    for path in ("/../pyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/reader", "/favicon.ico", "/\x7f"):
        answer, _ = ask(server, path.replace("\x7f", "%00"))
        assert answer.status == 404 and answer.headers["Content-Security-Policy"]
    assert ask(server, "/", method="POST")[0].status == 501
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1"):
        assert ask(server, "/model.qac", {"Host": host})[0].status == 421
    assert ask(server, "/", {"Host": f"localhost:{server.server_port}"})[0].status == 200


def test_a_port_that_is_taken_is_one_line(server: PageServer, container: Path) -> None:
    with pytest.raises(ConfigError, match=r"--port \d+: can't be used \(.*\); give another"):
        PageServer(server.page, server.server_port)


def test_the_command_prints_the_address_and_ctrl_c_ends_it(
    container: Path, tmp_path: Path, patience: Callable[[float], float]
) -> None:
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it\n"
    program += "from qacomp.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "serve", str(container), "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        said = process.stdout.readline()
        port = int(said.partition("127.0.0.1:")[2].partition("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(60))
        connection.request("GET", "/config.json")
        assert connection.getresponse().read().startswith(b'{"file": "model.qac"')
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(patience(60)) == 0
        assert "onnxruntime-web isn't here" in process.stderr.read()
