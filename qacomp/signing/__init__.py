"""Sign containers and folders, and check signatures, with the package model-signing: no network, keys in files."""

from qacomp.signing.signing import Signed, sign
from qacomp.signing.verifying import Verified, verify_signature

__all__ = ["Signed", "Verified", "sign", "verify_signature"]
