"""Keys and certificates for tests of signatures, made anew each time."""

import datetime
from pathlib import Path
from typing import Any


def key_pair(folder: Path) -> tuple[Path, Path]:
    """A private and a public key on P-256, in two files."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def authority(folder: Path, key: Path) -> tuple[Path, Path]:
    """The certificate of a new authority, and the one that it gives to a key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key = ec.generate_private_key(ec.SECP256R1())
    own_key: Any = serialization.load_pem_private_key(key.read_bytes(), None)
    made = []
    for name, public, signs in (("root", root_key.public_key(), False), ("own", own_key.public_key(), True)):
        path = folder / f"{name}.crt"
        path.write_bytes(_certificate(name, public, root_key, signs))
        made.append(path)
    return made[0], made[1]


def _certificate(name: str, public: Any, issuer: Any, signs: bool) -> bytes:
    """A certificate that the authority `root` gives; signs: of a key that signs files, not certificates."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    def named(text: str) -> Any:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    uses = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    usage = x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(uses, False),
    )
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("root")).public_key(public)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    builder = builder.not_valid_after(start + datetime.timedelta(days=36_500)).add_extension(usage, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=not signs, path_length=None), critical=True)
    made: bytes = builder.sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return made
