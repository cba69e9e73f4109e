"""List the files of the page: its own, the reader's modules, the packages', the container, and what it is told."""

import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from qacomp.formats import open_file
from qacomp.page.packages import find_packages
from qacomp.page.policy import policy
from qacomp.plain_text import printable

MODEL = "model.qac"
"""The container's name in the folder, whatever its own one is: addresses need no escapes then."""
_READER = (".js", ".wasm")
_NOT_SHIPPED = ("test", "fuzz", "node_modules")
_OWN = (".js", ".css", ".svg")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


@dataclass(frozen=True)
class PageFiles:
    """Every file of the page by its place in the folder: bytes, or the file that holds them.

    runs: whether onnxruntime-web is among them; notes: what is missing.
    """

    container: Path
    places: dict[str, bytes | Path]
    runs: bool
    notes: tuple[str, ...]


def page_files(path: Path, ort: Path | None = None) -> PageFiles:
    """List the files of the page of a container, which is checked first.

    ort: the folder of the npm package onnxruntime-web. Raises FormatError for a bad container, ConfigError for a bad
    `ort`.
    """
    with open_file(path) as container:
        container.check()
        zstd = any(section.codec == "zstd" for section in container.sections)
        size = container.size
    packages = find_packages(ort, wants_zstd=zstd)
    told: dict[str, Any] = {"file": MODEL, "name": printable(path.name), "bytes": size}
    told |= {"runtime": packages.runs, "zstd": packages.zstd}
    places: dict[str, bytes | Path] = {"config.json": json.dumps(told).encode(), MODEL: path}
    web = files("qacomp.page").joinpath("web")
    index = web.joinpath("index.html").read_text(encoding="utf-8").replace("POLICY", policy(), 1)
    places["index.html"] = index.encode()
    places["report.css"] = files("qacomp.report").joinpath("style.css").read_bytes()
    places |= _tree(web, "", _OWN)
    places |= _tree(files("qacomp.formats").joinpath("js"), "reader/", _READER)
    places.update(packages.files)
    return PageFiles(path, places, packages.runs, packages.notes)


def type_of(place: str) -> str:
    """Return the media type of a file of the page."""
    return _TYPES.get(Path(place).suffix, "application/octet-stream")


def _tree(folder: Traversable, before: str, suffixes: tuple[str, ...]) -> dict[str, bytes | Path]:
    """Read the files of a folder with these suffixes, and those of the folders in it, without tests."""
    found: dict[str, bytes | Path] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            if entry.name not in _NOT_SHIPPED:
                found |= _tree(entry, f"{before}{entry.name}/", suffixes)
        elif entry.name.endswith(suffixes):
            found[before + entry.name] = entry.read_bytes()
    return found
