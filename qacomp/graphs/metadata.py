"""Read a container's metadata, with the type of each known field checked.

The metadata come from the file, so they are as untrusted as the rest of it. A file is refused if a field that is listed
here doesn't have the listed type. Other fields are kept unchecked, for reports that print them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from qacomp.errors import FormatError
from qacomp.formats import Container, HeaderError
from qacomp.formats.metadata import read_metadata

Check = Callable[[Any], bool]
ORIGINAL = "original"
"""Value of the field `graph` for a graph that was read from an ONNX model and is restored unchanged."""
TOGETHER = "together"
"""Value of the field `graph` for one network with several outputs; otherwise each output is that of a sub-model."""
_LARGEST_INPUT = 1 << 26
"""Most values of one example: those of an image of 4,096 × 4,096 pixels with four channels."""


def metadata(container: Container) -> dict[str, Any]:
    """Return the container's metadata. Raises FormatError, which names the field, if a field has a wrong type."""
    return checked(container.meta, container.source)


def required(container: Container, name: str) -> Any:
    """Return one field of the metadata. Raises FormatError if it is missing."""
    value = metadata(container).get(name)
    if value is None:
        raise FormatError(f"{container.source}: its metadata have no {name}; the file is damaged")
    return value


def from_text(text: str, source: str) -> dict[str, Any]:
    """Read metadata from JSON text, which another kind of file holds. Raises FormatError."""
    try:
        return checked(read_metadata(text.encode(errors="surrogatepass")), source)
    except HeaderError as error:
        raise FormatError(f"{source}: {error}") from error


def checked(meta: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the metadata unchanged. Raises FormatError, which names the field, if a field has a wrong type."""
    for name, (check, words) in FIELDS.items():
        value = meta.get(name)
        if value is not None and not check(value):
            raise FormatError(f"{source}: the metadata's {name} isn't {words}; the file is damaged")
    return meta


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 1 << 63) or (type(value) is float and math.isfinite(value))


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _list(each: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(each, value))


def _table(each: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(each, value.values()))


def _or_none(each: Check) -> Check:
    return lambda value: value is None or each(value)


def _fields(kinds: Mapping[str, Check]) -> Check:
    """Return a check of a table: each of these entries that exists and isn't null must pass; others are ignored."""
    return lambda value: (
        isinstance(value, dict) and all(value.get(name) is None or check(value[name]) for name, check in kinds.items())
    )


def _shape(value: Any) -> bool:
    return _list(_count)(value) and 0 not in value and math.prod(value) <= _LARGEST_INPUT


_AGREEMENT = _fields({"outputs": _list(_fields({"name": _text, "unmeasured": _text})), "cosine": _number})
_POINT = _fields({"macs": _count, "accuracy": _number, "agreement": _AGREEMENT})

FIELDS: dict[str, tuple[Check, str]] = {
    "qacomp": (_text, "a version"),
    "source": (
        _fields({"sha256": _text, "bytes": _count, "kind": _text, "external_sha256": _list(_text)}),
        "a table of a digest, a size and a kind",
    ),
    "settings": (_text, "text"),
    "folder": (
        _fields(
            {"weights": _list(_fields({"file": _text, "tensors": _count, "prefix": _text})), "sha256": _table(_text)}
        ),
        "a table of the files of a folder",
    ),
    "levels": (_list(_count), "a list of numbers of shared values"),
    "arch": (_text, "a name"),
    "data": (_text, "a name"),
    "graph": (_text, "a word"),
    "num_classes": (_count, "a number"),
    "input_shape": (_shape, "a shape"),
    "preprocessing": (lambda value: isinstance(value, dict), "a table"),
    "batch_norms": (_table(_share), "a table of numbers between 0 and 1"),
    "accuracy": (_table(_or_none(_number)), "a table of numbers"),
    "pruning": (lambda value: isinstance(value, dict), "a table"),
    "submodels": (_table(_POINT), "a table of sub-models"),
    "agreement": (_AGREEMENT, "a table of outputs"),
    "metric": (_fields({"name": _text, "original": _number, "decoded": _number}), "a table of a name and numbers"),
}
"""The check of each field, and the words for its type in an error."""
