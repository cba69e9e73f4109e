"""Write the page as a folder that any web server can serve as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.formats.atomic import atomic_folder, write_atomically
from qacomp.formats.regular import open_regular
from qacomp.outputs import claim_folder
from qacomp.page.files import page_files

_PIECE = 1 << 20  # bytes that are copied at a time


@dataclass(frozen=True)
class WrittenPage:
    """A folder that was written. runs: whether the page can run the model; notes: what is missing for that."""

    container: Path
    output: Path
    files: tuple[str, ...]
    bytes: int
    runs: bool
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        changed = {"container": str(self.container), "output": str(self.output)}
        return vars(self) | changed | {"files": list(self.files), "notes": list(self.notes)}


def write_page(path: Path, output: Path, ort: Path | None = None, *, force: bool = False) -> WrittenPage:
    """Write the page of a container to the folder `output`.

    ort: the folder of the npm package onnxruntime-web, by default node_modules/onnxruntime-web where that is. A folder
    with files in it is replaced only with `force`. Raises FormatError for a bad container, ConfigError for a bad `ort`,
    OutputExistsError, OutputIsInputError and OutputNotWritableError.
    """
    claim_folder(output, [path], "-o", force=force)
    page = page_files(path, ort)
    claim_folder(output, [path, *(file for file in page.places.values() if isinstance(file, Path))], "-o", force=force)
    total = 0
    with atomic_folder(output, replace=True) as made:
        for place, content in page.places.items():
            target = made / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                total += write_atomically(target, [content])
            else:
                total += write_atomically(target, _pieces(content))
    return WrittenPage(path, output, tuple(sorted(page.places)), total, page.runs, page.notes)


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, piece by piece."""
    with open_regular(path) as file:
        while piece := file.read(_PIECE):
            yield piece
