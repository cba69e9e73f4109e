"""Which codecs a user may name: those of installed packages, since the format's own are tried anyway."""

from qacomp.errors import ConfigError
from qacomp.formats.codecs import installed_codecs, load_codec, standard_codecs


def check_codec(name: str) -> None:
    """Import the codec `name`. Raise ConfigError for one that would change nothing, PluginError for one that isn't."""
    if name in standard_codecs():
        others = ", ".join(installed_codecs()) or "none"
        raise ConfigError(f"codec = {name!r}: it is tried anyway; those of installed packages are {others}")
    load_codec(name)
