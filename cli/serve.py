"""Run `qacomp serve`: serve the page of a container to browsers on this machine."""

import sys
from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.interruption import Terminated
from qacomp.cli.options import FOLDER, INPUT, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.streams import echo

_PORT = click.IntRange(0, 65535)


@click.command("serve", short_help="Show a .qac file in the browser, and run it there.")
@click.argument("container", type=INPUT)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=8000, help="Port on 127.0.0.1; 0 for any. [8000]"
)
@click.option(
    "--ort", type=FOLDER, default=None, help="The npm package onnxruntime-web. [node_modules/onnxruntime-web, if there]"
)
@reporting
def serve_command(container: Path, port: int, ort: Path | None, as_json: bool) -> None:
    """Serve the page of CONTAINER to browsers on this machine, until Ctrl-C. Needs neither torch nor onnx.

    \b
    npm install onnxruntime-web fzstd   # once: to run models, and for Zstandard
    qacomp serve model.qac
    """
    from qacomp.page import PageServer, page_files

    page = page_files(container, ort)
    for note in page.notes:
        make_progress(as_json).note(note)
    with PageServer(page, port) as server:
        if as_json:
            print_json({"address": server.address, "runs": page.runs, "notes": list(page.notes)})
        else:
            echo(f"{container}: {server.address} (Ctrl-C ends it)")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except Terminated:
            raise
        except KeyboardInterrupt:
            return
