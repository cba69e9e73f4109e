"""Write a folder of C sources that hold a container and decode it on a device: to be compiled into its firmware."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.errors import ConfigError
from qacomp.exporting.c_texts import CMAKE, HEADER_END, HEADER_START, MAIN
from qacomp.formats import Container, open_file
from qacomp.formats.atomic import atomic_folder, write_atomically
from qacomp.formats.codecs import CODECS
from qacomp.formats.errors import NativeReaderError
from qacomp.formats.native import Mode, open_native
from qacomp.formats.native_installed import SOURCES
from qacomp.formats.regular import read_small
from qacomp.outputs import claim_folder
from qacomp.plain_text import printable

MOST_BYTES = 64 << 20
"""The largest container: its text is five times as long, and no flash of a device holds more."""
_ROW = 20  # bytes in a line of the array


@dataclass(frozen=True)
class CFolder:
    """A folder that was written. arena_bytes: what the decoder needs, None where no compiler could measure it."""

    container: Path
    output: Path
    files: tuple[str, ...]
    container_bytes: int
    arena_bytes: int | None
    largest_tensor_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return vars(self) | {"container": str(self.container), "output": str(self.output), "files": list(self.files)}


def write_c_folder(path: Path, output: Path, *, force: bool = False) -> CFolder:
    """Write qac.h, qac.c, model.h with the container as an array, an example main.c, and CMakeLists.txt.

    A folder with files in it is replaced only with `force`. Raises FormatError for a damaged container, ConfigError for
    one that is too large or stored with zstd or another package's codec, and OutputNotWritableError.
    """
    claim_folder(output, [path], "--c", force=force)
    with open_file(path) as container:
        if container.size > MOST_BYTES:
            raise ConfigError(f"{path}: has {container.size:,} bytes; --c takes at most {MOST_BYTES:,}")
        container.check()
        _check_codecs(container, path)
        data = read_small(path, MOST_BYTES)
        arena = _arena(data, path)
        sizes = [container.tensor(name).nbytes for name in container.names]
        largest = max(sizes, default=0)
        names = identifiers(container.names)
        texts = {
            "model.h": "".join(_header(container, path, data, names, arena)),
            "main.c": MAIN,
            "CMakeLists.txt": CMAKE,
            "qac.h": (SOURCES / "qac.h").read_text(encoding="utf-8"),
            "qac.c": (SOURCES / "qac.c").read_text(encoding="utf-8"),
        }
    with atomic_folder(output, replace=True) as made:
        for name, text in texts.items():
            write_atomically(made / name, [text.encode()])
    return CFolder(path, output, tuple(texts), len(data), arena, largest)


def identifiers(names: tuple[str, ...]) -> list[str]:
    """Return a C identifier for each name, all different: MODEL_FC1_WEIGHT for fc1.weight."""
    found: list[str] = []
    taken = {"MODEL_H", "MODEL_BYTES", "MODEL_ARENA_BYTES", "MODEL_LARGEST_BYTES", "MODEL_TENSORS"}
    for name in names:
        plain = re.sub(r"[^A-Z0-9]+", "_", name.upper()[:60]).strip("_") or "TENSOR"
        made, number = f"MODEL_{plain}", 1
        while made in taken:
            number += 1
            made = f"MODEL_{plain}_{number}"
        taken.add(made)
        found.append(made)
    return found


def _header(container: Container, path: Path, data: bytes, names: list[str], arena: int | None) -> Iterator[str]:
    """Yield the text of model.h."""
    tensors = [container.info(name) for name in container.names]
    largest = max((container.tensor(info.name).nbytes for info in tensors), default=0)
    yield HEADER_START.format(name=_comment(path.name), bytes=len(data), largest=largest)
    if arena is not None:
        yield f"#define MODEL_ARENA_BYTES {arena}u /* of a machine with 64-bit pointers; others need less */\n"
    yield "\nenum model_tensor {\n"
    for made, info in zip(names, tensors, strict=True):
        shape = " x ".join(map(str, info.shape)) or "one value"
        yield f"    {made}, /* {_comment(info.name)}: {info.dtype}, {shape} */\n"
    yield "    MODEL_TENSORS\n};\n\nstatic const uint8_t model_data[MODEL_BYTES] = {\n"
    for start in range(0, len(data), _ROW):
        yield "    " + "".join(f"{byte}," for byte in data[start : start + _ROW]) + "\n"
    yield HEADER_END


def _comment(text: str) -> str:
    """Return a text that can't end a comment, nor begin a line or another comment in it."""
    return re.sub(r"[^ -~]|[*/\\?]", "_", printable(text[:80]))


def _check_codecs(container: Container, path: Path) -> None:
    """Raise ConfigError if a section has a codec that qac.c lacks, or zstd, which it leaves to its caller."""
    known = {codec.name for number, codec in CODECS.items() if number < 192}
    for section in container.sections:
        if section.codec == "zstd":
            raise _stored_with_zstd(path)
        if section.codec not in known:
            raise ConfigError(f"{path}: is stored with the codec {section.codec}, which the C decoder doesn't have")


def _stored_with_zstd(path: Path) -> ConfigError:
    return ConfigError(f"{path}: parts of it are stored with zstd; compress it with --codec no-zstd for --c")


def _arena(data: bytes, path: Path) -> int | None:
    """Return the bytes of memory that the decoder needs, and check that it can read every tensor."""
    if data[6] == 6:
        raise _stored_with_zstd(path)
    try:
        with open_native(data, Mode("lean", zstd=False)) as native:
            for name in native.names:
                native.tensor(name)
            return native.arena_bytes("lean")
    except NativeReaderError as error:
        if "zstd" in str(error):
            raise _stored_with_zstd(path) from error
        return None
