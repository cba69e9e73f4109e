"""What a network returns: a tensor, or tensors in a tuple, a mapping or a dataclass (such as a ModelOutput)."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from qacomp.errors import DataError

MAIN = ("logits", "out", "output")
"""Names under which networks with named outputs return class scores: transformers, torchvision."""
LOGITS = "logits"  # the only output of a network in an ONNX graph


class NamedOutputs(dict[str, Any]):
    """Outputs by name, also as attributes: `outputs["logits"]` and `outputs.logits`."""

    def __getattr__(self, name: str) -> Any:
        """Return the output called `name`. Raises AttributeError for others."""
        if name in self:
            return self[name]
        raise AttributeError(f"the network has no output {name!r}; it has {', '.join(self)}")


def flat_outputs(found: Any) -> dict[str, Tensor]:
    """Return all tensors of what a network returned, by name: `logits` for a tensor, `output0`, ... for a tuple.

    Nested ones are named `outer.inner`. What isn't a tensor (None, numbers) is left out.
    """
    if isinstance(found, Tensor):
        return {LOGITS: found}
    named = _entries(found)
    if named is None:
        return {}
    flat: dict[str, Tensor] = {}
    for name, value in named.items():
        if isinstance(value, Tensor):
            flat[name] = value
        else:
            flat |= {f"{name}.{inner}": tensor for inner, tensor in flat_outputs(value).items()}
    return flat


def main_output(found: Any) -> Tensor:
    """Return the tensor that losses and metrics are about: the only one, else `logits` or `out`, else the first.

    Raises DataError if there is no tensor.
    """
    flat = flat_outputs(found)
    if not flat:
        raise DataError(f"the network returns {type(found).__name__} without tensors; return a tensor")
    return next((flat[name] for name in MAIN if name in flat), next(iter(flat.values())))


def arranged(names: Sequence[str], values: Sequence[Any]) -> Any:
    """Return the outputs of an ONNX graph in the form in which the network returned them.

    A single one alone, `output0`, ... as a tuple, others as NamedOutputs.
    """
    if list(names) == [LOGITS]:
        return values[0]
    if all(name == f"output{i}" for i, name in enumerate(names)):
        return tuple(values)
    return NamedOutputs(zip(names, values, strict=True))


def comparable(found: Any) -> Any:
    """Return what a network returned in the form that `arranged` gives, so that a metric sees the same of both."""
    if isinstance(found, Tensor):
        return found
    flat = flat_outputs(found)
    return arranged(list(flat), list(flat.values()))


def _entries(found: Any) -> dict[str, Any] | None:
    """Return the parts of a structure by name; None for what isn't one."""
    if isinstance(found, Mapping):
        return {str(name): value for name, value in found.items()}
    if is_dataclass(found) and not isinstance(found, type):
        return {field.name: getattr(found, field.name) for field in fields(found)}
    if isinstance(found, tuple | list):
        names = getattr(found, "_fields", None) or [f"output{i}" for i in range(len(found))]
        return dict(zip(names, found, strict=True))
    return None
