"""Run `qacomp verify`: check every checksum and digest of a container, and optionally its source file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.request import taking
from qacomp.cli.shortening import shown_digest
from qacomp.cli.streams import echo

if TYPE_CHECKING:
    from qacomp.signing import Verified


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


@dataclass(frozen=True)
class VerifyRequest:
    """The command line of `verify`."""

    container: Path
    source: Path | None
    root: str | None
    signature: Path | None
    public_key: Path | None
    certificates: tuple[Path, ...]
    as_json: bool


@click.command("verify", short_help="Check every checksum and digest of a .qac file.")
@click.argument("container", type=INPUT)
@click.option(
    "--source",
    type=INPUT,
    default=None,
    help="Also check that CONTAINER was made from exactly this file.",
)
@click.option("--root", type=RootType(), default=None, help="Refuse CONTAINER unless it has this root, in hex.")
@click.option("--signature", type=INPUT, default=None, help="Refuse CONTAINER unless this file signs it.")
@click.option("--public-key", type=INPUT, default=None, help="The key of the signature (PEM).")
@click.option(
    "--certificate", "certificates", type=INPUT, multiple=True, help="In its place: trusted certificates (PEM)."
)
@reporting
@taking(VerifyRequest)
def verify_command(asked: VerifyRequest) -> None:
    """Decode all of CONTAINER and check it; if anything is wrong, print the reason and exit with code 1.

    The root is a hash that binds all its bytes; `inspect` prints it. `sign` writes a signature. Of a folder only the
    signature is checked.
    """
    from dataclasses import asdict, replace

    from qacomp.graphs.metadata import metadata
    from qacomp.remote import open_file, verify_file
    from qacomp.remote.transfer import fetched
    from qacomp.sources.provenance import check_source

    container, signed, root, match = asked.container, None, asked.root, None
    if (asked.signature is None) != (asked.public_key is None and not asked.certificates):
        raise click.UsageError("--signature goes with --public-key, or with --certificate")
    if asked.signature is not None:
        signed, root = _signed(asked)
        if container.is_dir():
            _show_signed(asked, signed)
            return
    report = verify_file(container, root)
    if asked.source is not None:
        with open_file(container) as opened, fetched(asked.source, make_progress(asked.as_json)) as file:
            match = replace(check_source(container, metadata(opened), file), file=str(asked.source))
    if asked.as_json:
        document: dict[str, Any] = {"file": str(container), "ok": True, **asdict(report)}
        document |= {"source": asdict(match) if match else None, "signature": asdict(signed) if signed else None}
        print_json(document)
        return
    echo(f"{container}: ok, {len(report.sections)} sections, {len(report.tensors)} tensors")
    echo(f"root: {shown_digest(report.root)}")
    if signed:
        _show_signed(asked, signed)
    if match:
        echo(f"made from {match.file}, {match.bytes:,} bytes, SHA-256 {shown_digest(match.sha256)}")


def _signed(asked: VerifyRequest) -> tuple["Verified", str | None]:
    """Check the signature; return it, and the root of the bytes that it signs, which the container must then have."""
    from qacomp.errors import SignatureError
    from qacomp.remote.transfer import fetched
    from qacomp.signing import verify_signature
    from qacomp.signing.subject import root_of_signed

    assert asked.signature is not None
    with fetched(asked.container, make_progress(asked.as_json)) as file:
        signed = verify_signature(file, asked.signature, asked.public_key, certificates=asked.certificates)
        root = root_of_signed(file)
    if asked.root not in (None, root):
        raise SignatureError(f"{asked.container}: is signed, but its root is {root}, not {asked.root}")
    return signed, root


def _show_signed(asked: VerifyRequest, signed: "Verified") -> None:
    from dataclasses import asdict

    by = ", ".join(map(str, asked.certificates or (asked.public_key,)))
    if asked.as_json and signed.sha256 is None:
        print_json({"file": str(asked.container), "ok": True, "signature": asdict(signed)})
    else:
        files = "1 file" if signed.files == 1 else f"{signed.files} files"
        echo(f"{asked.signature}: signs {files}, with the key of {by}")
