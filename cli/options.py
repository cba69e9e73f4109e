"""Options that several commands share."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from qacomp.options.running import RunLimits

F = TypeVar("F", bound=Callable[..., Any])


class _File(click.Path):
    """The path of a file: not empty, and not one that ends in a slash, which a Path would drop."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `DIR/model.pt` as a Path. Refuse what is no file's path."""
        if isinstance(value, str) and (not value or value.endswith(os.sep)):
            self.fail(f"{value!r} is no file's path", param, ctx)
        return super().convert(value, param, ctx)


INPUT = click.Path(path_type=Path)
OUTPUT = _File(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def reporting(function: F) -> F:
    """Add --json and --debug to a command. `qacomp.cli.main` does what --debug says."""
    function = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")(
        function
    )
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(function)


def force_option(function: F) -> F:
    """Add -f, --force to a command."""
    text = "Replace files that stand where outputs go; never a file that is read."
    return click.option("-f", "--force", is_flag=True, help=text)(function)


def strict_option(function: F) -> F:
    """Add --strict to a command."""
    text = "Exit code 1 where the verdict is doubtful or broken; what was written stays."
    return click.option("--strict", is_flag=True, help=text)(function)


def trust_option(function: F) -> F:
    """Add --trust-pickle to a command."""
    text = "Run the code in a pickle: only for files whose author you trust."
    return click.option("--trust-pickle", is_flag=True, help=text)(function)


def run_limits(given: Mapping[str, Any]) -> "RunLimits":
    """Return the limits of --run-seconds and --run-memory. Raise ConfigError for a value that can't work."""
    from qacomp.options.running import MEMORY, SECONDS, RunLimits

    seconds, memory = given["run_seconds"], given["run_memory"]
    return RunLimits.of(SECONDS if seconds is None else seconds, MEMORY if memory is None else memory)


class Numbers(click.ParamType[Any]):
    """Numbers with commas, as a tuple."""

    name = "numbers"

    def __init__(self, kind: Callable[[str], Any]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return `0.1,0.2` as (0.1, 0.2)."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no comma-separated list of numbers", param, ctx)


class Size(click.ParamType[Any]):
    """`32` or `32x48`, as (height, width)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return `32` as (32, 32)."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(p.isdigit() and int(p) > 0 for p in parts):
            self.fail(f"{value!r} is no size; write 32 or 32x48", param, ctx)
        return int(parts[0]), int(parts[-1])


class LayerNumbers(click.ParamType[Any]):
    """`8`, `conv1=16,fc=4` or `8,conv1=16`, as (default or None, {layer: number}); numbers of one `kind`."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float] = int) -> None:
        self.kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, dict[str, float]]:
        """Return (default or None, number by layer) of text with commas; a bare number is the default."""
        if isinstance(value, tuple):
            return value
        default, layers = None, {}
        for part in str(value).split(","):
            layer, _, number = part.rpartition("=")
            if self.kind is int and not number.strip().isdigit():
                self.fail(f"{part!r}: write a number (8) or LAYER=NUMBER (conv1=16)", param, ctx)
            try:
                converted = self.kind(number)
            except ValueError:
                self.fail(f"{part!r}: write a number (0.5) or LAYER=NUMBER (conv1=0.5)", param, ctx)
            if layer:
                layers[layer.strip()] = converted
            else:
                default = converted
        return default, layers
