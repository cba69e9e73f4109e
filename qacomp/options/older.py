"""Translate the settings in containers that earlier versions of qacomp wrote to the present names.

Settings that a user gives, as TOML or keywords, aren't translated: an old name is an error that names the new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qacomp.errors import ConfigError
from qacomp.options.declaration import flag
from qacomp.options.method import MethodChoice, as_text, read_method

_REGULARIZERS = ("sin", "cos", "min", "exp", "sinreq")
_TEACHING = ("kd", "ipkd", "ta-1", "ta-m")
_QUANTIZERS = ("dorefa", "wrpn")
_PRUNERS = ("magnitude", "energy")
_OPTIMIZERS = ("sgd", "adam", "adamw", "adadelta")
_FORMER_K = 16  # the default of --k while it had one


@dataclass(frozen=True)
class Moved:
    """The present place of an earlier setting: `part` of the setting `into`.

    of: the methods of `into` that have `part` as a hyper-parameter; empty if `into` isn't a method but has parts.
    Without a method in the file, the first of them is meant. default: the earlier default, which isn't translated.
    """

    into: str
    part: str
    default: object
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the option that replaces the setting on the command line."""
        return f"{flag(self.into)} {f'{self.of[0]}:' if self.of else ''}{self.part}=..."


RENAMED = {"side": "stored_precision"}
MOVED = {
    "entropy": Moved("sharing", "entropy", 0.0, ("straight-through",)),
    "warmup": Moved("schedule", "fraction", 0.5, ("warmup",)),
    "slices": Moved("reg", "slices", 1, _REGULARIZERS),
    "init": Moved("reg", "init", "kmeans", ("min", "exp")),
    "range": Moved("reg", "range", "layer", ("sin", "cos")),
    "domain": Moved("reg", "domain", "auto", ("sinreq",)),
    "learn_bits": Moved("reg", "learn_bits", False, ("sinreq",)),
    "bits_penalty": Moved("reg", "bits_penalty", 0.03, ("sinreq",)),
    "activations": Moved("quantizer", "activations", None, _QUANTIZERS),
    "ends": Moved("quantizer", "ends", "same", _QUANTIZERS),
    "quantizer_scale": Moved("quantizer", "scale", "layer", _QUANTIZERS),
    "distill_weight": Moved("distill", "weight", None, _TEACHING),
    "temperature": Moved("distill", "temperature", None, _TEACHING),
    "prune_rate": Moved("prune", "rate", None, _PRUNERS),
    "prune_epochs": Moved("prune", "epochs", None, _PRUNERS),
    "prune_unit": Moved("prune", "unit", "weight", ("magnitude",)),
    "prune_scope": Moved("prune", "scope", "layer", ("magnitude",)),
    "prune_objective": Moved("prune", "objective", "energy", ("energy",)),
    "prune_start": Moved("prune", "start", "magnitude", ("energy",)),
    "prune_parents": Moved("prune", "parents", "rescore", ("energy",)),
    "population": Moved("prune", "population", 8, ("energy",)),
    "stagnation": Moved("prune", "stagnation", None, ("energy",)),
    "weight_decay": Moved("optimizer", "weight_decay", 1e-4, _OPTIMIZERS),
    "momentum": Moved("optimizer", "momentum", 0.9, ("sgd",)),
    "size": Moved("preprocess", "size", None),
    "mean": Moved("preprocess", "mean", None),
    "std": Moved("preprocess", "std", None),
    "run_seconds": Moved("run_limits", "seconds", 60.0),
    "run_memory": Moved("run_limits", "memory", "4GB"),
}
"""Old name -> where the setting is now."""


def translated(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a file's settings under their present names; names that are unknown here stay as they are.

    A hyper-parameter of a method that isn't chosen had no effect and is left out. Raises ConfigError, which begins
    with `where`, for an invalid method or value.
    """
    new = {RENAMED.get(name, name): value for name, value in table.items() if name not in MOVED}
    parts: dict[str, dict[str, Any]] = {}
    for name, moved in MOVED.items():
        value = table.get(name)
        if value is None or value == moved.default:
            continue
        if moved.of:
            new[moved.into] = _with(new.get(moved.into, moved.of[0]), moved, value, f"{where}: {name}")
        elif moved.into not in new:
            parts.setdefault(moved.into, {})[moved.part] = value
    return _without_idle_k(new) | parts


def _without_idle_k(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without a `k` that had no effect: earlier versions always wrote the default one."""
    methods = {name: str(table.get(name, "")) for name in ("quantizer", "reg", "sharing", "codebook")}
    idle = methods["codebook"].startswith("affine") or methods["sharing"].startswith("rate")
    idle = idle or methods["quantizer"] not in ("", "none") or "learn_bits=true" in methods["reg"]
    return {name: value for name, value in table.items() if name != "k" or value != _FORMER_K or not idle}


def _with(method: Any, moved: Moved, value: Any, where: str) -> Any:
    """Return a method's text with the hyper-parameter added; methods that don't have it are returned unchanged."""
    choice = read_method(method, where)
    if choice is None or choice.name not in moved.of:
        return method
    try:
        return str(MethodChoice(choice.name, {moved.part: as_text(value), **choice.given}))
    except ValueError as error:
        raise ConfigError(f"{where} = {value!r:.100}: {error}") from error
