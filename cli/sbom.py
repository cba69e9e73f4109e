"""Run `qacomp sbom`: write what a container is, and what it was made from, as a CycloneDX bill of materials."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.shortening import shown_digest
from qacomp.cli.streams import echo


@click.command("sbom", short_help="Write a CycloneDX bill of materials (ML-BOM) of a .qac file.")
@click.argument("container", type=INPUT)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The document to write, such as bom.json.")
@force_option
@reporting
def sbom_command(container: Path, output: Path, force: bool, as_json: bool) -> None:
    """Write the digest, source, architecture, figures and settings of CONTAINER for other programs. Doesn't need torch.

    The figures are those that were measured when the file was made; nothing is run. The document (CycloneDX 1.6, JSON)
    has no time in it: equal files of one name give equal bytes.

    \b
    qacomp sbom model.qac -o bom.json
    """
    from qacomp.bom import sbom

    made = sbom(container, output, force=force, progress=make_progress(as_json))
    if as_json:
        print_json(made.to_json())
        return
    echo(f"{made.output}: CycloneDX 1.6, {made.figures} measured figures, SHA-256 {shown_digest(made.sha256)}")
    origin = "the file doesn't tell its source" if made.source_sha256 is None else f"source {made.source_sha256}"
    echo(origin)
