"""List the names of metrics, without heavy imports, for the settings."""

from qacomp.errors import ConfigError

METRICS = ("auto", "accuracy", "mse", "cosine")


def check_metric(name: str) -> None:
    """Raise ConfigError unless `name` is a known metric or has the form module:function."""
    module, colon, function = name.partition(":")
    if name not in METRICS and not (colon and module and function):
        raise ConfigError(f"metric = {name!r}: must be one of {', '.join(METRICS)}, or module:function")
