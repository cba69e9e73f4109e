"""The `qacomp` command: a group whose commands are imported when they are called."""

import os
import sys
import traceback
from importlib import import_module
from typing import Any

import click

from qacomp import __version__
from qacomp.cli.console import print_json

_COMMANDS = ("train", "compress", "decode", "eval", "inspect", "diff", "verify", "plot", "demo")


class _Commands(click.Group):
    """One file per command in qacomp/cli; names keep the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in working order."""
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
    """Run the command line. Exit codes: 0 done, 1 the work failed (one line says why), 2 the command line was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        cli.main(arguments, prog_name="qacomp", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as interrupt:
        if debug:
            traceback.print_exc()
        return _fail("interrupted; " + _kept(interrupt.__cause__ or interrupt), "Interrupted", as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left; nothing more to flush
        return 1
    except Exception as error:
        message = _explanation(error)
        if debug:
            traceback.print_exc()
        if message is None:
            message = f"a defect of qacomp: {type(error).__name__}: {error}; run again with --debug and report it"
        return _fail(message, type(error).__name__, as_json)
    return 0


def _explanation(error: Exception) -> str | None:
    """What the user is told of an error, or None for one that is a defect of qacomp."""
    from qacomp.formats.errors import QacompError  # here, so that --help needn't import numpy

    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --batch-size"
    return str(error) if isinstance(error, (QacompError, OSError)) else None


def _kept(interrupt: BaseException) -> str:
    notes: list[Any] = getattr(interrupt, "__notes__", [])
    return str(notes[0]) if notes else "no output was written"


def _fail(message: str, kind: str, as_json: bool) -> int:
    line = " ".join(message.split())
    click.echo(f"qacomp: error: {line}", err=True)
    if as_json:
        print_json({"error": {"type": kind, "message": line}})
    return 1


if __name__ == "__main__":
    main()
