"""Check that a signature was made by a key, and for the file at hand."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qacomp.calls import PathLike
from qacomp.errors import ConfigError, SignatureError
from qacomp.extras import naming_extra
from qacomp.plain_text import printable
from qacomp.signing.library import key_file, speaking_for
from qacomp.signing.statement import Statement, read_statement

_NAME = 80  # characters of a name that are shown


@dataclass(frozen=True)
class Verified:
    """A signature that is right. files: how many it signs; sha256: of the file; None for a folder."""

    signature: str
    files: int
    sha256: str | None


def verify_signature(
    path: PathLike,
    signature: PathLike,
    public_key: PathLike | None = None,
    *,
    certificates: Sequence[PathLike] = (),
) -> Verified:
    """Check that `signature` was made for exactly the bytes of a file or folder, with the key of `public_key` (PEM).

    certificates: in place of a key, those that are trusted (PEM), such as that of an authority. Raises SignatureError
    if anything is wrong, MissingPackageError, OSError.
    """
    if (public_key is None) == (not certificates):
        raise ConfigError("give a public key or trusted certificates, one of both")
    found, file = Path(os.path.realpath(path, strict=True)), Path(signature)
    statement = read_statement(file)
    trusted = [key_file(Path(one)) for one in (certificates or [public_key or ""])]
    names = ", ".join(map(str, trusted))
    with naming_extra("verify --signature"):
        from cryptography.exceptions import InvalidSignature
        from model_signing import verifying

        config = verifying.Config()
        if certificates:
            with speaking_for(f"{names}: no certificates in PEM"):
                config.use_certificate_verifier(certificate_chain=trusted)
        else:
            with speaking_for(f"{names}: isn't a public elliptic-curve key (P-256) in PEM"):
                config.use_elliptic_key_verifier(public_key=trusted[0])
        with speaking_for(f"{file}: isn't a signature that can be checked with {names}"):
            try:
                config.verify(found, file)
            except InvalidSignature as error:
                reason = "it was changed, or another key made it"
                raise SignatureError(f"{file}: isn't valid for {names}: {reason}") from error
            except ValueError as error:
                if str(error).startswith("Key mismatch"):
                    raise SignatureError(f"{file}: was made with another key than {names}") from error
                if str(error).startswith("Signature mismatch"):
                    raise _another(path, found, file, statement) from error
                raise
    return Verified(str(signature), len(statement.digests), statement.sha256)


def _another(path: PathLike, found: Path, file: Path, statement: Statement) -> SignatureError:
    """Return the error for a right signature of other bytes than those at hand."""
    name = printable(statement.name, _NAME)
    if statement.name != found.name:
        return SignatureError(f"{path}: isn't what {file} signs, which was named {name}; give its own signature")
    what = "a file in it was changed, added or removed" if found.is_dir() else "it was changed"
    return SignatureError(f"{path}: isn't what {file} signs: {what} after it was signed; fetch it again")
