"""`qacomp verify`: every checksum and every tensor's digest of a container, and whether it came from a given file."""

import sys
from pathlib import Path
from typing import Any

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, reporting
from qacomp.cli.shortening import shortened
from qacomp.cli.streams import echo
from qacomp.cli.terminal import width


@click.command("verify", short_help="Check every checksum and digest of a .qac file.")
@click.argument("container", type=INPUT)
@click.option(
    "--source",
    type=INPUT,
    default=None,
    help="Check too that CONTAINER was made from exactly this file.",
)
@reporting
def verify_command(container: Path, source: Path | None, as_json: bool) -> None:
    """Decode all of CONTAINER and check it; exit code 1 and the reason where anything is wrong."""
    from dataclasses import asdict

    from qacomp.formats import open_file, verify_file
    from qacomp.graphs.metadata import metadata
    from qacomp.sources.provenance import check_source

    report = verify_file(container)
    match = None
    if source is not None:
        with open_file(container) as opened:
            match = check_source(container, metadata(opened), source)
    if as_json:
        document: dict[str, Any] = {"file": str(container), "ok": True, **asdict(report)}
        print_json({**document, "source": asdict(match) if match else None})
        return
    echo(f"{container}: ok, {len(report.sections)} sections, {len(report.tensors)} tensors")
    if match:
        digest = shortened(match.sha256, (width(sys.stdout) or 80) - 2)  # a line of its own, where it is long
        echo(f"made from {match.file}, {match.bytes:,} bytes, SHA-256 {digest}")
