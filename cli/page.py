"""Run `qacomp page`: write a folder of web files that shows a container and runs it in the browser."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import FOLDER, INPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.streams import echo


@click.command("page", short_help="Write a web page that shows a .qac file and runs it in the browser.")
@click.argument("container", type=INPUT)
@click.option("-o", "--output", type=FOLDER, required=True, help="The folder to write, such as site/.")
@click.option(
    "--ort", type=FOLDER, default=None, help="The npm package onnxruntime-web. [node_modules/onnxruntime-web, if there]"
)
@force_option
@reporting
def page_command(container: Path, output: Path, ort: Path | None, force: bool, as_json: bool) -> None:
    """Write a page for CONTAINER that any web server can serve. Needs neither torch nor onnx.

    \b
    npm install onnxruntime-web fzstd   # once: to run models, and for Zstandard
    qacomp page model.qac -o site/
    """
    from qacomp.page import write_page

    made = write_page(container, output, ort, force=force)
    for note in made.notes:
        make_progress(as_json).note(note)
    if as_json:
        print_json(made.to_json())
        return
    echo(f"{made.output}: {len(made.files)} files, {made.bytes:,} bytes")
    echo("serve the folder by any web server; a browser doesn't run modules from file:// addresses")
