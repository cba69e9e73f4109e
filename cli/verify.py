"""`qacomp verify`: every checksum and every tensor's digest of a container."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, reporting


@click.command("verify", short_help="Check every checksum and digest of a .qac file.")
@click.argument("container", type=INPUT)
@reporting
def verify_command(container: Path, as_json: bool) -> None:
    """Decode all of CONTAINER and check it; exit code 1 and the reason where anything is wrong."""
    from dataclasses import asdict

    from qacomp.formats import verify_file

    report = verify_file(container)
    if as_json:
        print_json({"file": str(container), "ok": True, **asdict(report)})
        return
    click.echo(f"{container}: ok, {len(report.sections)} sections, {len(report.tensors)} tensors")
