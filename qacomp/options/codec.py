"""Check the codec that a user names: one of an installed package, since the format's own are tried anyway."""

from qacomp.errors import ConfigError
from qacomp.formats.codecs import installed_codecs, load_codec, standard_codecs


def check_codec(name: str) -> None:
    """Import the codec `name`. Raises ConfigError for one of the format, and PluginError if no package offers it."""
    if name in standard_codecs():
        others = ", ".join(installed_codecs()) or "none"
        raise ConfigError(f"codec = {name!r}: is tried anyway; leave --codec out, or name one of a package: {others}")
    load_codec(name)
