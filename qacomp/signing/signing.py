"""Sign a container, or a folder, with a private key."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.calls import PathLike
from qacomp.errors import OutputIsInputError
from qacomp.extras import naming_extra
from qacomp.formats import write_atomically
from qacomp.outputs import Output, claim
from qacomp.signing.library import key_file, speaking_for
from qacomp.signing.statement import parse_statement
from qacomp.signing.subject import subject


@dataclass(frozen=True)
class Signed:
    """A signature that was written. files: how many it signs; sha256: of the file; None for a folder."""

    output: Path
    files: int
    sha256: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the document that `sign --json` prints."""
        return {**asdict(self), "output": str(self.output)}


def sign(
    path: PathLike,
    key: PathLike,
    output: PathLike | None = None,
    *,
    certificates: Sequence[PathLike] = (),
    force: bool = False,
) -> Signed:
    """Write a signature of a container, of the index of one in several files, or of a folder: a Sigstore bundle.

    key: a private key on the curves P-256, P-384 or P-521, as PEM without a password; output: NAME.sig beside it by
    default; certificates: that of the key, and then those that lead to a root, as PEM; force: replace a file at
    `output`. Signatures of equal files differ, since each holds a random number; the verifier accepts each.
    Raises FormatError for no container, SignatureError for an unfit key, MissingPackageError, OutputNotWritableError.
    """
    source, secret, chain = subject(path), Path(key), [Path(file) for file in certificates]
    target = Path(output) if output is not None else Path(path).with_name(f"{source.name}.sig")
    if source.is_dir() and target.resolve().is_relative_to(source):
        raise OutputIsInputError(f"{target}: -o lies in the folder that is signed; write the signature beside it")
    claim([Output(target, "-o")], [Path(path), secret, *chain], force=force)
    for file in (secret, *chain):
        key_file(file)
    with naming_extra("sign"), tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        from model_signing import signing

        config, made = signing.Config(), Path(folder) / "signature"
        unfit = f"{secret}: isn't a private key to sign with: it must be on a curve (P-256), in PEM, without password"
        if chain:
            with speaking_for(f"{unfit}, and the first of the certificates its own"):
                others = chain[1:] or chain  # the package takes no empty list; one that comes twice does no harm
                config.use_certificate_signer(
                    private_key=secret, signing_certificate=chain[0], certificate_chain=others
                )
        else:
            with speaking_for(unfit):
                config.use_elliptic_key_signer(private_key=secret)
        with speaking_for(f"{path}: can't be signed"):
            config.sign(source, made)
        data = made.read_bytes()
    write_atomically(target, [data])
    statement = parse_statement(data)
    return Signed(target, len(statement.digests), statement.sha256)
