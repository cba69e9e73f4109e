"""Keep plain rounding where compensation doesn't help on inputs that its moments weren't taken from."""

from collections.abc import Callable
from dataclasses import replace

from qacomp.rate.equal_bits import bits_at, step_of_bits
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import Distance


def guarded(sharing: RateSharing, elsewhere: Distance, advance: Callable[[], None]) -> tuple[RateSharing, list[str]]:
    """Return the weights without the factors that make outputs worse than plain rounding does, and which those are.

    A weight with a step for each input may also lose only those. elsewhere: how far the outputs move, on inputs of
    their own. Each weight is tried alone in all ways, at steps that take equal bytes. advance: called after each one.
    """
    weights, steps, plain = dict(sharing.weights), dict(sharing.steps), []
    for name, weight in sharing.weights.items():
        if weight.factor is not None:
            simple = replace(weight, factor=None, columns=None)
            others = [simple] if weight.columns is None else [simple, replace(weight, columns=None)]
            bits = bits_at(weight, steps[name])
            ways = [(way, step_of_bits(way, bits, steps[name])) for way in others] + [(weight, steps[name])]
            weights[name], steps[name] = min(ways, key=lambda way: elsewhere({name: way[0].changed(way[1])}))
            if weights[name] is simple:
                plain.append(name)
        advance()
    return replace(sharing, weights=weights, steps=steps), plain
