"""List the names of metrics and losses, without heavy imports, for the settings."""

from qacomp.errors import ConfigError

METRICS = ("auto", "accuracy", "mse", "cosine", "perplexity", "similarity")
LOSSES = ("auto", "cross-entropy", "mse")


def check_metric(name: str) -> None:
    """Raise ConfigError unless `name` is a known metric or has the form module:function."""
    _check("metric", name, METRICS)


def check_loss(name: str) -> None:
    """Raise ConfigError unless `name` is a known loss or has the form module:function."""
    _check("loss_fn", name, LOSSES)


def _check(setting: str, name: str, known: tuple[str, ...]) -> None:
    module, colon, function = name.partition(":")
    if name not in known and not (colon and module and function):
        raise ConfigError(f"{setting} = {name!r}: must be one of {', '.join(known)}, or module:function")
