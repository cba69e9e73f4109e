"""Keep plain rounding where compensation doesn't help on inputs that its moments weren't taken from."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from qacomp.plain_text import printable
from qacomp.rate.equal_bits import bits_at, step_of_bits
from qacomp.rate.kept import Kept, not_kept
from qacomp.rate.rows import PARTS
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import Distance, WeightOnGrid

_NAMED, _LONGEST_NAME = 3, 80  # weights that a note names, and characters of a name


def guarded(
    sharing: RateSharing, elsewhere: Distance, advance: Callable[[], None], kept: Kept = not_kept
) -> tuple[RateSharing, list[str]]:
    """Return the weights without the factors that make outputs worse than plain rounding does, and which those are.

    A weight with a step for each input may also lose only those, one whose outputs compensate each other only that, and
    a vocabulary the steps of its words or the gradients at them. Each weight is tried alone in all ways, at steps that
    take equal bytes. elsewhere: how far the outputs move, on inputs of their own; advance: called after each weight;
    kept: keeps the way and the step of each.
    """
    weights, steps, plain = dict(sharing.weights), dict(sharing.steps), []
    for name, weight in sharing.weights.items():
        if weight.factor is not None or weight.rows is not None:
            ways = _ways(weight)
            simple = ways[0]

            def best(name: str = name, ways: Sequence[WeightOnGrid] = ways) -> tuple[int, float]:
                """Return the place of the best way, and its step."""
                start = steps[name]
                parts = 1 if ways[-1].rows is None else PARTS
                bits = bits_at(ways[-1], start, parts)
                found = [step_of_bits(way, bits, start, parts) for way in ways[:-1]] + [start]
                moved = [elsewhere({name: way.changed(step)}) for way, step in zip(ways, found, strict=True)]
                place = moved.index(min(moved))
                return place, found[place]

            place, step = kept(f"way of rounding {name} at {float(steps[name])!r}", 2, best)
            weights[name], steps[name] = ways[int(place) % len(ways)], step
            if weights[name] is simple and weight.factor is not None:
                plain.append(name)
        advance()
    return replace(sharing, weights=weights, steps=steps), plain


def both_ways_or_inputs(sharing: RateSharing, elsewhere: Distance, note: Callable[[str], None]) -> RateSharing:
    """Return the weights without what is known of gradients at outputs, unless all together move outputs less with it.

    The steps are the same in both, and the bits nearly so. elsewhere: as for `guarded`; note: is told what was chosen.
    """
    weights = sharing.weights
    one = {
        name: replace(weight, factor=replace(weight.factor, outputs=None))
        for name, weight in weights.items()
        if weight.factor is not None and weight.factor.outputs is not None
    }
    if not one:
        return sharing
    moved = [elsewhere({name: some[name].changed(sharing.step(name, 1.0)) for name in one}) for some in (weights, one)]
    if moved[0] < moved[1]:
        tell_of_outputs(sharing, note)
        return sharing
    note(
        "rounding errors compensate each other along inputs alone, since along outputs too is no better on other inputs"
    )
    return replace(sharing, weights={**weights, **one})


def tell_of_outputs(sharing: RateSharing, note: Callable[[str], None]) -> None:
    """Note how many weights are compensated along outputs too, if any is, and which ones aren't."""
    if (both := sharing.both_ways) > 0:
        others = [name for name, w in sharing.weights.items() if w.factor is None or w.factor.outputs is None]
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        told = f"; not {', '.join(printable(name, _LONGEST_NAME) for name in others[:_NAMED])}{more}" if others else ""
        note(f"{both} of {len(sharing.weights)} weights: rounding errors compensate each other along outputs too{told}")


def _ways(weight: WeightOnGrid) -> list[WeightOnGrid]:
    """Return the ways of rounding a weight that are tried: plainly first, with all that is known last."""
    found = [replace(weight, factor=None, columns=None, rows=None)]
    if weight.columns is not None:
        found.append(replace(weight, columns=None))
    if weight.factor is not None and weight.factor.outputs is not None:
        found.append(replace(weight, factor=replace(weight.factor, outputs=None)))
    if weight.factor is not None and weight.rows is not None:
        found.append(replace(weight, factor=None))
    return [*found, weight]
