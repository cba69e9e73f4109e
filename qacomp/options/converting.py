"""Convert settings from TOML and the command line to the types of their fields."""

from collections.abc import Mapping
from typing import Any

from qacomp.errors import ConfigError


def type_name(annotation: Any) -> str:
    """Return an annotation as text, such as `int`, `float | None` or `tuple[int, int] | None`."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("collections.abc.")


def convert(source: str, name: str, value: Any, wanted: str) -> Any:
    """Convert `value` to the type named `wanted`; lists become tuples and ints become floats. Raises ConfigError."""
    wrong = ConfigError(f"{source}: {name} = {value!r} has the wrong type; expected {wanted}")
    if value is None:
        return None
    if wanted.startswith("tuple[str"):
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise wrong
        return tuple(value)
    kinds = (int,) if "int" in wanted else (int, float)
    if wanted.startswith("tuple"):
        numbers = isinstance(value, (list, tuple)) and not any(isinstance(v, bool) for v in value)
        if not numbers or not all(isinstance(v, kinds) for v in value):
            raise wrong
        if wanted.startswith("tuple[int, int]") and len(value) != 2:
            raise wrong
        return tuple(int(v) if "int" in wanted else float(v) for v in value)
    if wanted.startswith("Mapping"):
        if not isinstance(value, Mapping) or not all(type(v) in kinds for v in value.values()):
            raise wrong
        return {n: int(v) if "int" in wanted else float(v) for n, v in value.items()}
    if wanted.startswith("bool"):
        if not isinstance(value, bool):
            raise wrong
        return value
    if wanted.startswith("float"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong
        return float(value)
    if (wanted.startswith("int") and type(value) is not int) or (
        wanted.startswith("str") and not isinstance(value, str)
    ):
        raise wrong
    return value
