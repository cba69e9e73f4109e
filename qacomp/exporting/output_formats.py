"""The table of file formats that a container can be decoded to; the suffix of the output says which."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from qacomp.errors import ConfigError
from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.formats import Container
from qacomp.options.registry import Registry

OutputWriter: TypeAlias = Callable[[Container, Path, DecodeOptions], Decoded]
FORMATS: Registry[OutputWriter] = Registry("output format", "qacomp.exporting.file_formats", "qacomp.formats")


def register_format(name: str) -> Callable[[OutputWriter], OutputWriter]:
    """Register `def write(container, output, options) -> Decoded` for outputs with the suffix `.NAME`.

    It writes the part of the container that the options name, whole or not at all (`qacomp.formats.atomic_file`), reads
    the file back, and returns `Decoded.of` with the largest difference. It raises ConfigError for what it can't hold.
    """
    return lambda write: FORMATS.add(name, write)


def suffixes() -> list[str]:
    """Return the suffixes of all formats, those of other installed packages last."""
    return [f".{name}" for name in FORMATS.names()]


def writer_for(output: Path) -> OutputWriter:
    """Return what writes a file with the output's suffix. Raise ConfigError, which lists those that there are."""
    if output.suffix not in suffixes():
        raise ConfigError(f"{output}: can't decode to '{output.suffix}'; use {' or '.join(suffixes())}")
    return FORMATS.find(output.suffix.removeprefix("."))
