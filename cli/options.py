"""Define the command-line options and option types that several commands share."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qacomp.cli.help_page import BriefOption

if TYPE_CHECKING:
    from qacomp.options.running import RunLimits

F = TypeVar("F", bound=Callable[..., Any])


class _File(click.Path):
    """The path of a file; an empty path and one that ends in a slash (which Path would drop) are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert text such as `DIR/model.pt` to a Path. Fails for a path that can't be a file."""
        if isinstance(value, str) and (not value or value.endswith(os.sep)):
            self.fail(f"{value!r} isn't the path of a file", param, ctx)
        return super().convert(value, param, ctx)


class _FileOrFolder(click.Path):
    """The path of a file or a folder to write; a folder's may end in a slash, but not that of a file, NAME.onnx/."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert text such as `NAME.onnx` or `FOLDER/` to a Path. Fails for a path that can't be either."""
        from qacomp.exporting.output_formats import suffixes

        if isinstance(value, str) and (not value or (value.endswith(os.sep) and Path(value).suffix in suffixes())):
            self.fail(f"{value!r} isn't the path of a file", param, ctx)
        return super().convert(value, param, ctx)


INPUT = click.Path(path_type=Path)
OUTPUT = _File(path_type=Path, dir_okay=False)
ANY_OUTPUT = _FileOrFolder(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)


def reporting(function: F) -> F:
    """Add --json and --debug to a command. `qacomp.cli.main` handles --debug."""
    function = click.option(
        "--json",
        "as_json",
        cls=BriefOption,
        is_flag=True,
        help="Print one JSON document on stdout, and nothing else.",
        brief="Print one JSON document on stdout",
    )(function)
    text = "Show the traceback of an error."
    return click.option("--debug", cls=BriefOption, is_flag=True, expose_value=False, help=text)(function)


def force_option(function: F) -> F:
    """Add -f, --force to a command."""
    text = "Overwrite existing output files; never a file that is read."
    brief = "Overwrite existing output files"
    return click.option("-f", "--force", cls=BriefOption, is_flag=True, help=text, brief=brief)(function)


def strict_option(function: F) -> F:
    """Add --strict to a command."""
    text = "Exit with code 1 if the verdict is doubtful or broken; written files stay."
    return click.option("--strict", cls=BriefOption, is_flag=True, help=text)(function)


def trust_option(function: F) -> F:
    """Add --trust-pickle to a command."""
    text = "Allow a pickle to run its code; only for files whose author you trust."
    brief = "Run a pickle's code; only if you trust its author"
    return click.option("--trust-pickle", cls=BriefOption, is_flag=True, help=text, brief=brief)(function)


def workers_option(function: F) -> F:
    """Add --workers to a command."""
    text = "Processes that share a large model's tensors: a number, 0 for one a core, or a Dask scheduler, tcp://HOST:PORT."
    return click.option("--workers", cls=BriefOption, default=None, metavar="N", help=text)(function)


def run_limits(given: Mapping[str, Any]) -> "RunLimits":
    """Return the limits that --run-limits gives, or the defaults. Raises ConfigError for a bad value."""
    from qacomp.options.parts import read_parts
    from qacomp.options.running import RunLimitOptions

    return read_parts("--run-limits", given["run_limits"], RunLimitOptions).limits


class Numbers(click.ParamType[Any]):
    """A comma-separated list of numbers, converted to a tuple; kind: int or float."""

    name = "numbers"

    def __init__(self, kind: Callable[[str], Any]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Convert text such as `0.1,0.2` to (0.1, 0.2)."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} isn't a list of numbers; write, for example, 0.1,0.2", param, ctx)


class LayerNumbers(click.ParamType[Any]):
    """A number and exceptions for layers: `8`, `conv1=16,fc=4` or `8,conv1=16`; kind: int or float.

    The text is converted to (default or None, {layer: number}).
    """

    name = "numbers"

    def __init__(self, kind: type[int] | type[float] = int) -> None:
        self.kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, dict[str, float]]:
        """Convert text to (default or None, {layer: number}); a number without a layer is the default."""
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
