"""Run `qacomp verify`: check every checksum and digest of a container, and optionally its source file."""

import sys
from pathlib import Path
from typing import Any

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.shortening import shortened
from qacomp.cli.streams import echo
from qacomp.cli.terminal import width


class RootType(click.ParamType[str]):
    """The root of a container, 64 hex digits."""

    name = "root"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text. Raises a usage error for one that is no root."""
        from qacomp.formats.merkle import parse_root

        try:
            return parse_root(value).hex()
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("verify", short_help="Check every checksum and digest of a .qac file.")
@click.argument("container", type=INPUT)
@click.option(
    "--source",
    type=INPUT,
    default=None,
    help="Also check that CONTAINER was made from exactly this file.",
)
@click.option("--root", type=RootType(), default=None, help="Refuse CONTAINER unless it has this root, in hex.")
@reporting
def verify_command(container: Path, source: Path | None, root: str | None, as_json: bool) -> None:
    """Decode all of CONTAINER and check it; if anything is wrong, print the reason and exit with code 1.

    The root is a hash that binds all its bytes. `inspect` prints it.
    """
    from dataclasses import asdict, replace

    from qacomp.graphs.metadata import metadata
    from qacomp.remote import open_file, verify_file
    from qacomp.remote.transfer import fetched
    from qacomp.sources.provenance import check_source

    report = verify_file(container, root)
    match = None
    if source is not None:
        with open_file(container) as opened, fetched(source, make_progress(as_json)) as file:
            match = replace(check_source(container, metadata(opened), file), file=str(source))
    if as_json:
        document: dict[str, Any] = {"file": str(container), "ok": True, **asdict(report)}
        print_json({**document, "source": asdict(match) if match else None})
        return
    echo(f"{container}: ok, {len(report.sections)} sections, {len(report.tensors)} tensors")
    echo(f"root: {report.root}")
    if match:
        digest = shortened(match.sha256, (width(sys.stdout) or 80) - 2)  # `echo` may put it on a line of its own
        echo(f"made from {match.file}, {match.bytes:,} bytes, SHA-256 {digest}")
