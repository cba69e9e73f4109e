"""Keep the table of file formats to which a container can be decoded; the output's suffix decides."""

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
    """Return a decorator that registers a function as the writer of outputs with the suffix `.NAME`.

    The function `write(container, output, options) -> Decoded` writes the chosen part of the container, whole or not at
    all (see `qacomp.formats.atomic_file`), reads the file back, and returns `Decoded.of` with the largest difference.
    It raises ConfigError for a part that the format can't hold.
    """
    return lambda write: FORMATS.add(name, write)


def suffixes() -> list[str]:
    """Return the suffixes of all formats; those of other installed packages come last."""
    return [f".{name}" for name in FORMATS.names()]


def writer_for(output: Path) -> OutputWriter:
    """Return the writer for the output's suffix. Raises ConfigError, which lists the known suffixes."""
    if output.suffix not in suffixes():
        raise ConfigError(f"{output}: can't decode to '{output.suffix}'; use {' or '.join(suffixes())}")
    return FORMATS.find(output.suffix.removeprefix("."))
