"""Run the `qacomp` command; the module of a subcommand is imported only when it is called."""

import sys
import traceback
from importlib import import_module
from typing import Any

import click

from qacomp import __version__
from qacomp.cli import completion  # noqa: F401 (registers the completion for bash)
from qacomp.cli.console import print_json
from qacomp.cli.interruption import Terminated, ending_in_order
from qacomp.cli.ranks import left_to_first
from qacomp.cli.streams import complain, prepare, shown, silence

_LONGEST = 2000  # characters of an error message; a name or value from a file may have megabytes
_COMMANDS = (
    "train",
    "compress",
    "merge",
    "decode",
    "eval",
    "inspect",
    "diff",
    "delta",
    "apply",
    "verify",
    "sbom",
    "sign",
    "gate",
    "sweep",
    "plot",
    "page",
    "serve",
    "demo",
)
_TRAINING = ("train", "compress", "sweep", "demo")  # need PyTorch, whatever else is missing


_VERSION_HELP = "Show the version, and whether sections are decoded by numpy or in C."


class _Commands(click.Group):
    """The group of all commands; each is a file of qacomp/cli, and they are listed in the order of a usual workflow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of a usual workflow."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command; None for an unknown name."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"qacomp.cli.{cmd_name}"), f"{cmd_name}_command")
        return command


def _tell_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version, and what decodes sections of indices, then end."""
    if not wanted or context.resilient_parsing:
        return
    reader = import_module("qacomp.formats.native_sections").reader()
    click.echo(f"qacomp, version {__version__}\nreader: {reader}")
    context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_tell_version, help=_VERSION_HELP)
def cli() -> None:
    """Compress trained networks into small .qac files, and decode them to ONNX.

    \b
    qacomp train --arch lenet5 --data digits -o model.pt
    qacomp compress model.pt --reg exp --k 8
    qacomp decode model.qac -o model.onnx
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 success, 1 the work failed (one line says why), 2 wrong arguments.

    After a signal other than Ctrl-C: 128 + its number. If the reader of a pipe closes it, that isn't an error.
    """
    prepare()
    given = sys.argv[1:] if arguments is None else arguments
    if left_to_first(given):
        sys.exit(0)
    with ending_in_order():
        code = _run(given)
    for stream in (sys.stdout, sys.stderr):
        _finish(stream)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        code = cli.main(arguments, prog_name="qacomp", standalone_mode=False)
        return code if isinstance(code, int) else 0  # click returns the exit code of `ctx.exit`
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as interrupt:
        if debug:
            traceback.print_exc()
        return _interrupted(interrupt.__cause__ or interrupt, as_json)
    except SystemExit as leave:  # click exits so if the reader of its own output has closed the pipe
        return leave.code if isinstance(leave.code, int) and not _has_left(sys.stdout) else 0
    except BrokenPipeError:
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        if (behind := _interruption_behind(error)) is not None:
            return _interrupted(behind, as_json)
        message = _explanation(error, next((word for word in arguments if word in _COMMANDS), "qacomp"))
        if message is None:
            message = f"a bug in qacomp: {type(error).__name__}: {error}; run again with --debug and report it"
        return _fail(message, type(error).__name__, as_json)


def _has_left(stream: Any) -> bool:
    """Return whether click found that the reader of a stream has closed it: then click replaces the stream."""
    return type(stream).__name__ == "_PacifyFlushWrapper"


def _finish(stream: Any) -> None:
    """Flush a stream, so that the interpreter doesn't do it at exit and print an error that can't be caught."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        silence(stream)


def _explanation(error: Exception, command: str) -> str | None:
    """Return the message of an error in a command for the user, or None if the error is a bug in qacomp."""
    from qacomp.extras import missing_package
    from qacomp.formats.errors import QacompError  # here, so that --help needn't import numpy
    from qacomp.formats.system_errors import explained

    missing = missing_package(error, command, trains=command in _TRAINING)
    if missing is not None:
        return str(missing)
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, set a smaller --batch-size, or use a machine with more memory"
    if isinstance(error, OSError) and not isinstance(error, QacompError):
        return explained(error)
    return str(error) if isinstance(error, QacompError) else None


def _interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption that an error was made of, or that a with block ended by when the error came.

    Python 3.11 wraps one that comes while it builds a class. Where one comes while PyTorch enters a mode, it leaves
    a mode that it hasn't entered, and raises an error of its own.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause


def _interrupted(interrupt: BaseException, as_json: bool) -> int:
    """Write one line that says what ended the command and what is kept, and return the exit code."""
    notes: list[Any] = getattr(interrupt, "__notes__", [])
    word, code, kind = "interrupted", 1, "Interrupted"
    if isinstance(interrupt, Terminated):
        word, code, kind = f"ended by {interrupt}", interrupt.exit_code, "Terminated"
    _fail(f"{word}; {notes[0] if notes else 'no half-written output is left behind'}", kind, as_json)
    return code


def _fail(message: str, kind: str, as_json: bool) -> int:
    line = shown(" ".join(message.split()), _LONGEST)
    complain(f"qacomp: error: {line}")
    if as_json:
        print_json({"error": {"type": kind, "message": line}})
    return 1


if __name__ == "__main__":
    main()
