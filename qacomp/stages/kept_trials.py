"""Keep the trials of a search of scales in a journal, so that a run that goes on measures none of them again."""

from collections.abc import Callable
from dataclasses import asdict, replace

from qacomp.stages.journal import Journal, real, whole
from qacomp.stages.scaled import Scaled
from qacomp.stages.validation import Validation


def kept_trials(scaled: Scaled, journal: Journal, what: str) -> Scaled:
    """Return the source with bytes, distances and validations at each scale kept in a journal.

    what: a text that differs for other steps, inputs and samples.
    """

    def validated(name: str, measure: Callable[[float], Validation]) -> Callable[[float], Validation]:
        def at(scale: float) -> Validation:
            key = f"{name} at {scale!r} of {what}"
            return journal.value(key, lambda: measure(scale), Validation.of_json, asdict)

        return at

    before, quick = scaled.before_tuning, scaled.quick_bytes
    return replace(
        scaled,
        shared_bytes=lambda s: journal.value(f"bytes at {s!r} of {what}", lambda: scaled.shared_bytes(s), whole),
        distance=lambda s: journal.value(f"distance at {s!r} of {what}", lambda: scaled.distance(s), real),
        quick_bytes=None
        if quick is None
        else lambda s: journal.value(f"estimate at {s!r} of {what}", lambda: quick(s), whole),
        validated=validated("validation", scaled.validated),
        before_tuning=None if before is None else validated("validation before tuning", before),
    )
