"""Find the C decoder that the distribution qacomp-native brings compiled. None of its Python code is run, it has none.

It is used if it was compiled of the very sources in `c`; of any other version it is left alone. One in the working
folder is left alone too: what lies there may have come with a model, and `python -m` and notebooks look there.
"""

import ctypes
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
SOURCE_FILES = ("qac.h", "qac.c", "qac_root.h", "qac_root.c", "sections.c")
"""The files that the library is compiled of; the last one includes the others."""
PACKAGE, LIBRARY, DIGEST = "qacomp_native", "qac.so", "sources.sha256"
"""The package, and the names of its library and of the file with the digest of its sources."""


def sources_digest() -> str:
    """Return the SHA-256 of the decoder's sources, in hex."""
    digest = hashlib.sha256()
    for name in SOURCE_FILES:
        digest.update((SOURCES / name).read_bytes())
    return digest.hexdigest()


@cache
def installed() -> Path | None:
    """Return the path of the installed library; None if there is none of these sources, or it can't be loaded."""
    try:
        spec = find_spec(PACKAGE)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            if Path(folder).resolve().parent == Path.cwd():
                continue
            if Path(folder, DIGEST).read_text(encoding="ascii").strip() == sources_digest():
                ctypes.CDLL(str(Path(folder, LIBRARY)))
                return Path(folder, LIBRARY)
    except (ImportError, OSError, ValueError):
        return None
    return None
