"""What a container's metadata say, each field checked for its type before anybody reads it.

The metadata come with the file, so they are as hostile as the rest of it. What isn't listed here is kept as it is, for
reports that print it; what is listed has the type that its readers count on, or the file is refused.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from qacomp.errors import FormatError
from qacomp.formats import Container, HeaderError
from qacomp.formats.metadata import read_metadata

Check = Callable[[Any], bool]
ORIGINAL = "original"
"""The word for a graph that came in as ONNX and is given back as it was (`graph`)."""
_LARGEST_INPUT = 1 << 26
"""Values of one example: an image of 4,096 × 4,096 in four channels."""


def metadata(container: Container) -> dict[str, Any]:
    """Return the container's metadata. Raises FormatError, with the field's name, where one isn't of its type."""
    return checked(container.meta, container.source)


def required(container: Container, name: str) -> Any:
    """Return one field, which must be there. Raises FormatError."""
    value = metadata(container).get(name)
    if value is None:
        raise FormatError(f"{container.source}: its metadata lack {name}; the file is damaged")
    return value


def from_text(text: str, source: str) -> dict[str, Any]:
    """Read metadata that another file carries as JSON. Raises FormatError."""
    try:
        return checked(read_metadata(text.encode(errors="surrogatepass")), source)
    except HeaderError as error:
        raise FormatError(f"{source}: {error}") from error


def checked(meta: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the same metadata. Raises FormatError, with the field's name, where one isn't of its type."""
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
    """Make the check of a table with these entries, where they are there and not null, and any others."""
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
"""What is read, and in which words an error tells its type."""
