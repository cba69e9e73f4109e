"""Recognise URLs where the user may give a path."""

import os
import re
from pathlib import PurePosixPath

from qacomp.errors import ConfigError

SCHEMES = ("hf", "s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "file", "memory")
"""The schemes that are opened. Others, and chains such as zip::https://..., aren't."""
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}(?=[^/])", re.ASCII)


def url_of(path: object) -> str | None:
    """Return the URL that a path or text means, or None for a path of this machine.

    A pathlib.Path has one slash where the URL had two, so both forms are accepted. Raises ConfigError for an unknown
    scheme.
    """
    if not isinstance(path, str | os.PathLike):
        return None
    text = os.fspath(path)
    found = _URL.match(text) if isinstance(text, str) else None
    if found is None or os.path.exists(text):
        return None
    if found[1] not in SCHEMES or "::" in text:
        raise ConfigError(
            f"{text[:200]}: URLs begin with {', '.join(f'{s}://' for s in SCHEMES[:2])} or {SCHEMES[7]}://"
        )
    return f"{found[1]}://{'/' if found[1] in ('file', 'memory') else ''}{text[found.end() :]}"


def url_name(url: str) -> str:
    """Return the last part of a URL's path, without a query."""
    return PurePosixPath(re.sub(r"[?#].*", "", url).rstrip("/")).name or "model"
