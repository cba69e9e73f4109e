"""Check the codec that a user names: one of an installed package, or one of the format to leave out or to add."""

from qacomp.errors import ConfigError
from qacomp.formats.codec_choice import ADD, LEAVE_OUT
from qacomp.formats.codecs import installed_codecs, load_codec, standard_codecs
from qacomp.formats.codecs.mixing import Mixing


def check_codec(name: str) -> None:
    """Import the codec `name`, unless it is a name such as no-zstd, which leaves out a codec of the format.

    with-mixing adds the codec mixing. Several names have commas between them.

    Raises ConfigError for a codec of the format, which is tried anyway, and PluginError if no package offers it.
    """
    if "," in name:
        for one in name.split(","):
            check_codec(one)
        return
    if name.startswith(LEAVE_OUT) and (left := name.removeprefix(LEAVE_OUT)) in standard_codecs():
        if left == "raw":
            raise ConfigError("codec = 'no-raw': what no codec makes smaller is stored raw; leave out another one")
        return
    if name == ADD + Mixing.name:
        return
    if name == Mixing.name:
        raise ConfigError(f"codec = {name!r}: name it {ADD}{name}, or {LEAVE_OUT}{name} to leave it out")
    if name in standard_codecs():
        others = ", ".join(installed_codecs()) or "none"
        raise ConfigError(f"codec = {name!r}: is tried anyway; leave --codec out, or name one of a package: {others}")
    load_codec(name)
