"""A source whose tensors can be put on grids at any common scale of their steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qacomp.stages.made import Made
from qacomp.stages.validation import Validation


@dataclass(frozen=True)
class Scaled:
    """A source at any scale of its steps.

    made: returns what its container holds, measured; whole_bytes: the bytes of that container; shared_bytes: those of
    the shared tensors alone, at a scale; distance: how far the outputs move at a scale; validated: what decides whether
    a scale may be taken, measured on samples that aren't reported where there are labels. finer: returns the source
    with the steps of single tensors, by name, multiplied by factors; order: those tensors whose error costs most for
    each bit come first. before_tuning: measures the same as `validated` without tuning, which takes most of the time;
    None for a source that isn't tuned. quick_bytes: estimates `shared_bytes` without coding, which takes most of the
    time of a large source; None for a small one. based: scale 1 has the steps of a base, and is taken where it is good
    enough. estimate: of a source without a base, about how `shared_bytes` changes between scales: it says where to
    measure next.
    """

    made: Callable[[float], Made]
    whole_bytes: Callable[[Made], int]
    shared_bytes: Callable[[float], int]
    distance: Callable[[float], float]
    validated: Callable[[float], Validation]
    finer: Callable[[Mapping[str, float]], "Scaled"]
    order: Sequence[str] = ()
    before_tuning: Callable[[float], Validation] | None = None
    quick_bytes: Callable[[float], int] | None = None
    based: bool = False
    estimate: Callable[[float], float] | None = None

    def searched_bytes(self, scale: float) -> int:
        """Return the bytes that a search compares: an estimate for a large source, which it corrects by whole files."""
        return (self.quick_bytes or self.shared_bytes)(scale)
