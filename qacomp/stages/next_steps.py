"""Say what to try after a rate-aware compression: command lines that follow from what was measured."""

import math
import shlex
from collections.abc import Iterator
from itertools import islice

from qacomp.evaluation.verdict import BROKEN, DOUBTFUL
from qacomp.options.config import CompressConfig
from qacomp.rate.quality import DISTANCES
from qacomp.rate.record import RateSearch
from qacomp.stages.figures import Figures, NextStep

_MOST, _LONGEST_NAME = 2, 80
_APART = 0.05  # of the bytes: a trial nearer than this to the file isn't worth another run


def next_steps(done: Figures, config: CompressConfig) -> tuple[NextStep, ...]:
    """Return at most two command lines that follow from the record of the search; none if nothing was searched."""
    search = done.rate_search
    return () if search is None else tuple(islice(_steps(done, search, config), _MOST))


def _steps(done: Figures, search: RateSearch, config: CompressConfig) -> Iterator[NextStep]:
    poor = done.verdict.word in (DOUBTFUL, BROKEN)
    target = _next_size(done, search, poor) if config.target_size else _next_quality(search, config, poor)
    if target is not None and not search.limits:
        yield NextStep(_command(done, config, target[0]), target[1])
    if search.of_outputs and not search.inputs_given and search.inputs:
        why = f"steps were chosen on {search.inputs}; real inputs, without labels, show how the outputs really move"
        yield NextStep(_command(done, config, ("--calibration", "npz:FILE")), why)
    costly = _costliest(done, search)
    if costly is not None:
        yield NextStep(_command(done, config, ("--exclude", costly[0])), costly[1])


def _next_quality(search: RateSearch, config: CompressConfig, poor: bool) -> tuple[tuple[str, str], str] | None:
    """Return the next word of --quality, a better one for a poor verdict, and what was measured within its bound."""
    words = list(DISTANCES)  # from the least change to the smallest file
    place = words.index("balanced" if config.quality == "auto" else config.quality) + (-1 if poor else 1)
    if not 0 <= place < len(words):
        return None
    word = words[place]
    inside = [(size, far) for _, size, far in search.front if far <= DISTANCES[word]]
    now = _chosen(search)
    why = f"{word} allows a distance of {DISTANCES[word]:g}"
    if not inside or now is None:
        return ("--quality", word), why
    size, far = min(inside)
    if (size >= now[0]) if not poor else (size <= now[0]):
        return ("--quality", word), why
    return ("--quality", word), f"{why}; the search measured {far:.3g} at {size:,} bytes of weights, now {now[0]:,}"


def _next_size(done: Figures, search: RateSearch, poor: bool) -> tuple[tuple[str, str], str] | None:
    """Return a size at which the search measured a trial, larger than the file for a poor verdict, else smaller."""
    now = _chosen(search)
    if now is None:
        return None
    near = [
        (size, far)
        for _, size, far in search.front
        if (size > now[0] * (1 + _APART) if poor else size < now[0] * (1 - _APART))
    ]
    if not near:
        return None
    size, far = min(near) if poor else max(near)
    why = f"the search measured a distance of {far:.3g} at {size:,} bytes of weights; now {now[1]:.3g} at {now[0]:,}"
    return ("--target-size", str(done.container_bytes - now[0] + size)), why


def _costliest(done: Figures, search: RateSearch) -> tuple[str, str] | None:
    """Return the layer whose grid moves the outputs most for the bytes that it would take exactly, and its figures."""
    told = {r.name: r for r in done.layers if r.k is not None and r.name in search.sensitivities and _plain(r.name)}
    if len(told) < 2:
        return None
    exact = {name: 4 * math.prod(row.shape) for name, row in told.items()}
    name = max(told, key=lambda n: search.sensitivities[n].output_change / max(1, exact[n] - told[n].bytes))
    alone = search.sensitivities[name].output_change
    why = f"its grid alone moved the outputs by {alone:.3g} when steps were chosen; it takes {told[name].bytes:,} bytes"
    return name, f"{why} now, {exact[name]:,} in fp32"


def _chosen(search: RateSearch) -> tuple[int, float] | None:
    return next(((size, far) for scale, size, far in search.front if scale == search.chosen), None)


def _plain(name: str) -> bool:
    """Return whether a name can stand in a command line as it is: printable, short, and no pattern."""
    return name.isprintable() and len(name) <= _LONGEST_NAME and not set(name) & set("*?[]") and name[:1] != "-"


def _command(done: Figures, config: CompressConfig, change: tuple[str, str]) -> str:
    """Return the command of this compression with one option changed, and another output."""
    named = {"--quality": config.quality if config.quality != "auto" else None, "--target-size": config.target_size}
    if change[0] in named:
        named = {}
    limits = {"--max-drop": config.max_drop, "--min-agreement": config.min_agreement}
    named |= {flag: None if value is None else f"{value:.10g}" for flag, value in limits.items()}
    named |= {"--data": config.data, "--calibration": config.calibration, change[0]: change[1]}
    named_file = done.source and not done.source.startswith("<")  # a module in memory is called <Sequential>
    source, output = done.source if named_file else "MODEL", done.output.with_suffix("").name + "-next.qac"
    words = ["qacomp", "compress", source, "--sharing", "rate", "-o", output]
    for flag, value in named.items():
        words += [flag, value] if value is not None else []
    return shlex.join(words)
