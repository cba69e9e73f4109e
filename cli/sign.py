"""Run `qacomp sign`: write a signature of a container or a folder."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting
from qacomp.cli.shortening import shown_digest
from qacomp.cli.streams import echo


@click.command("sign", short_help="Sign a .qac file, or a folder, with a private key.")
@click.argument("path", type=INPUT)
@click.option("--key", type=INPUT, required=True, help="Private key: P-256, PEM, without a password.")
@click.option("-o", "--output", type=OUTPUT, default=None, help="The signature to write; by default PATH.sig.")
@click.option(
    "--certificate",
    "certificates",
    type=INPUT,
    multiple=True,
    help="The key's certificate (PEM); again for those that lead to a root.",
)
@force_option
@reporting
def sign_command(
    path: Path, key: Path, output: Path | None, certificates: tuple[Path, ...], force: bool, as_json: bool
) -> None:
    """Sign PATH: a container, the index of one in several files, or a folder. Needs the extra `sign`; no network.

    The signature is a Sigstore bundle (OpenSSF Model Signing), which other programs verify too.

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub
    qacomp sign model.qac --key key.pem
    qacomp verify model.qac --signature model.qac.sig --public-key key.pub
    """
    from qacomp.signing import sign

    made = sign(path, key, output, certificates=certificates, force=force)
    if as_json:
        print_json(made.to_json())
        return
    signed = f"files: {made.files}" if made.sha256 is None else f"SHA-256 {shown_digest(made.sha256)}"
    echo(f"{made.output}: signs {path}, {signed}")
