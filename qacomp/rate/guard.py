"""Keep plain rounding where compensation doesn't help on inputs that its moments weren't taken from."""

from collections.abc import Callable
from dataclasses import replace

from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import Distance


def guarded(sharing: RateSharing, elsewhere: Distance, advance: Callable[[], None]) -> tuple[RateSharing, list[str]]:
    """Return the weights without the factors that make outputs worse than plain rounding does, and which those are.

    A weight with a step for each input may also lose only those. elsewhere: how far the outputs move, on inputs of
    their own. Each weight is tried alone, at its step, in all ways. advance: called after each weight.
    """
    weights, plain = dict(sharing.weights), []
    for name, weight in sharing.weights.items():
        if weight.factor is not None:
            simple = replace(weight, factor=None, columns=None)
            ways = [simple, weight] if weight.columns is None else [simple, replace(weight, columns=None), weight]
            weights[name] = min(ways, key=lambda way: elsewhere({name: way.changed(sharing.steps[name])}))
            if weights[name] is simple:
                plain.append(name)
        advance()
    return replace(sharing, weights=weights), plain
