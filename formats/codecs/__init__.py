"""Import every file of this folder, each of which registers its codec."""

import pkgutil
from importlib import import_module

from qacomp.formats.codecs.base import CODECS, PRIVATE, Codec, Stream, codec_name, codec_of, register, standard_codecs
from qacomp.formats.codecs.installed import installed_codecs, load_codec, load_installed

__all__ = [
    "CODECS",
    "PRIVATE",
    "Codec",
    "Stream",
    "codec_name",
    "codec_of",
    "installed_codecs",
    "load_codec",
    "load_installed",
    "register",
    "standard_codecs",
]

for _file in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
