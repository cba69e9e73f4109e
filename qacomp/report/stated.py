"""Read agreement and metric from a container's metadata, which anyone may write: wrong types are left out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Agreed:
    """Agreement of one output with the original model's; fields as in OutputAgreement. unmeasured: why it has none."""

    name: str
    cosine: float | None
    centred: float | None
    max_abs_error: float
    top1: float | None
    unmeasured: str = ""


def stated_agreement(meta: Mapping[str, Any]) -> tuple[Agreed, ...]:
    """Return the agreement of each output that the compression measured; entries of a wrong type are left out."""
    stored = meta.get("agreement")
    outputs = stored.get("outputs") if isinstance(stored, Mapping) else None
    return tuple(
        Agreed(
            str(o.get("name")),
            _number(o.get("cosine")),
            _number(o.get("centred")),
            o["max_abs_error"],
            _number(o.get("top1")),
            str(o["unmeasured"]) if o.get("unmeasured") else "",
        )
        for o in (outputs if isinstance(outputs, list) else [])
        if isinstance(o, Mapping) and is_number(o.get("max_abs_error"))
    )


def stated_metric(meta: Mapping[str, Any]) -> tuple[str, float, float] | None:
    """Return a metric's name, the original's value and the decoded model's, or None if the metadata has no metric."""
    stored = meta.get("metric")
    if not isinstance(stored, Mapping) or not (is_number(stored.get("original")) and is_number(stored.get("decoded"))):
        return None
    return str(stored.get("name")), float(stored["original"]), float(stored["decoded"])


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def is_number(value: object) -> bool:
    """Return whether `value` is a finite real number; a container's metadata may hold anything."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
