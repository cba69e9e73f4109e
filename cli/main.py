"""The `qacomp` command: a group whose commands are imported when they are called."""

import sys
import traceback
from importlib import import_module
from typing import Any

import click

from qacomp import __version__
from qacomp.cli import completion  # noqa: F401 (registers what bash needs)
from qacomp.cli.console import print_json
from qacomp.cli.interruption import Terminated, ending_in_order
from qacomp.cli.streams import complain, prepare, shown, silence

_LONGEST = 2000  # characters of an error's line: a name or a value out of a file may have megabytes
_COMMANDS = ("train", "compress", "decode", "eval", "inspect", "diff", "verify", "plot", "demo")


class _Commands(click.Group):
    """The commands, a file of qacomp/cli each; their names keep the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of work."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"qacomp.cli.{cmd_name}"), f"{cmd_name}_command")
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qacomp")
def cli() -> None:
    """Compress trained networks into small .qac files, and decode them to ONNX.

    \b
    qacomp train --arch lenet5 --data digits -o model.pt
    qacomp compress model.pt --reg exp --k 8
    qacomp decode model.qac -o model.onnx
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 done, 1 the work failed (one line says why), 2 the command line was wrong.

    Ended by a signal other than Ctrl-C: 128 and the signal's number. A reader of the output that leaves is no error.
    """
    prepare()
    with ending_in_order():
        code = _run(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        _finish(stream)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        code = cli.main(arguments, prog_name="qacomp", standalone_mode=False)
        return code if isinstance(code, int) else 0  # click gives a command's own exit code back
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as interrupt:
        if debug:
            traceback.print_exc()
        return _interrupted(interrupt.__cause__ or interrupt, as_json)
    except SystemExit as leave:  # of click, where the reader of its own output has left
        return leave.code if isinstance(leave.code, int) and not _has_left(sys.stdout) else 0
    except BrokenPipeError:
        return 0
    except Exception as error:
        message = _explanation(error)
        if debug:
            traceback.print_exc()
        if message is None:
            message = f"a defect of qacomp: {type(error).__name__}: {error}; run again with --debug and report it"
        return _fail(message, type(error).__name__, as_json)


def _has_left(stream: Any) -> bool:
    """Return whether click found that nobody reads a stream any more: it has put a wrapper in its place."""
    return type(stream).__name__ == "_PacifyFlushWrapper"


def _finish(stream: Any) -> None:
    """Flush what is left, so that the interpreter, which can only complain, finds nothing to do."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        silence(stream)


def _explanation(error: Exception) -> str | None:
    """Return what the user is told of an error; None for an error that is a defect of qacomp."""
    from qacomp.formats.errors import QacompError  # here, so that --help needn't import numpy
    from qacomp.formats.system_errors import explained

    if isinstance(error, MemoryError):
        return "out of memory; close other programs, take a smaller --batch-size, or a machine with more memory"
    if isinstance(error, OSError) and not isinstance(error, QacompError):
        return explained(error)
    return str(error) if isinstance(error, QacompError) else None


def _interrupted(interrupt: BaseException, as_json: bool) -> int:
    """Write a line on what happened and what is kept. Return the exit code."""
    notes: list[Any] = getattr(interrupt, "__notes__", [])
    word, code, kind = "interrupted", 1, "Interrupted"
    if isinstance(interrupt, Terminated):
        word, code, kind = f"ended by {interrupt}", interrupt.exit_code, "Terminated"
    _fail(f"{word}; {notes[0] if notes else 'no output is half-written'}", kind, as_json)
    return code


def _fail(message: str, kind: str, as_json: bool) -> int:
    line = shown(" ".join(message.split()), _LONGEST)
    complain(f"qacomp: error: {line}")
    if as_json:
        print_json({"error": {"type": kind, "message": line}})
    return 1


if __name__ == "__main__":
    main()
