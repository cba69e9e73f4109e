"""Check a container against each limit. A limit that can't be checked fails, with advice what to do."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from qacomp.diff import Difference, compare
from qacomp.evaluation.metrics import lost
from qacomp.evaluation.verdict import stated_verdict
from qacomp.gating.checks import GateCheck, GateReport
from qacomp.gating.limits import VERDICTS, GateLimits, growth_bytes
from qacomp.gating.release import ACCURACY, GateFigure, Release, read_release
from qacomp.options.config import CompressConfig
from qacomp.options.file_size import file_size
from qacomp.runtime.limits import limited_runs

_JUDGE_IT = "compress again, with --data if the model can't be run on generated inputs"
_BROKEN = "not checked, since the file is broken"
_REPAIR = "download the file or compress again"


def gate(
    container: str | os.PathLike[str],
    limits: GateLimits | None = None,
    *,
    against: str | os.PathLike[str] | None = None,
    data: str | None = None,
    config: CompressConfig | None = None,
) -> GateReport:
    """Check `container` against `limits`, as `qacomp gate` does. Checksums are always checked.

    against: the last release. data: a spec such as npz:FILE, on which the decoded models are measured; without data
    the metrics are read from the files' metadata, which anyone can write. config: metric, preprocessing and limits of
    running a model.

    A broken file is a failed check. Raises ConfigError for invalid limits, DataError for unusable data, and OSError.
    """
    limits = (limits or GateLimits()).checked(against is not None)
    config = config or CompressConfig()
    if data is not None:
        config = config.with_settings({"data": data}, "data")
    measuring = config.check() if config.data is not None else None
    with limited_runs(config.run_limits.limits):
        own = read_release(Path(container), measuring)
    last = None
    if against is not None:
        with limited_runs(config.run_limits.limits):
            last = read_release(Path(against), measuring)
    difference = None
    if last is not None and not own.problem and not last.problem:
        difference = compare(last.path, own.path)
    checks = list(_alone(own, limits))
    if last is not None:
        checks += _since(own, last, difference, limits)
    return GateReport(own.path, None if last is None else last.path, tuple(checks), difference)


def _alone(own: Release, limits: GateLimits) -> Iterator[GateCheck]:
    """Yield the checks of the container itself."""
    sound = not own.problem
    yield GateCheck("checksums", "all right", own.problem or "all right", sound, "" if sound else _REPAIR)
    yield _bytes(own, limits.max_bytes)
    if limits.max_drop is not None or own.figure.drop is not None:
        yield _drop("metric drop", own, _against_original(own.figure), limits.max_drop)
    yield _verdict(own, limits.min_verdict)


def _bytes(own: Release, most: str | int | None) -> GateCheck:
    found, wanted = f"{own.bytes:,} bytes", str(most).strip()
    if most is None:
        return GateCheck("bytes", "–", found, None, value=own.bytes)
    if not own.fp32 and wanted.lower().endswith(("x", "bpw")):  # relative to a size in fp32 that is unknown or 0
        why = _BROKEN if own.problem else f"{found}, but it has no floating-point values, so {wanted} has no meaning"
        return GateCheck("bytes", f"at most {wanted}", why, False, "give the limit in bytes", value=own.bytes)
    bound = file_size(wanted, own.fp32)
    held = own.bytes <= bound
    advice = "" if held else f"{own.bytes - bound:,} bytes too many: give a smaller --k, or --target-size {wanted}"
    return GateCheck("bytes", f"at most {bound:,} bytes", found, held, advice, bound, own.bytes)


def _against_original(figure: GateFigure) -> tuple[float | None, str, str]:
    """Return the drop, a text about it, and the reason if there is no drop."""
    if figure.problem:
        return None, "", figure.problem
    if figure.found is None:
        return None, "", f"the file states no {figure.name} of the compressed model"
    if figure.drop is None:
        return None, "", f"the file states no {figure.name} of the original"
    return figure.drop, _told(figure.name, figure.original, figure.found, figure.drop, figure.how), ""


def _against_last(own: GateFigure, last: GateFigure) -> tuple[float | None, str, str]:
    if own.problem or last.problem:
        return None, "", own.problem or f"of the last release: {last.problem}"
    if own.found is None or last.found is None or own.name != last.name:
        return None, "", "the two files don't both state the same metric"
    drop = lost(own.name, last.found, own.found, own.higher)
    return drop, _told(own.name, last.found, own.found, drop, own.how.partition(", the original's")[0]), ""


def _drop(name: str, own: Release, found: tuple[float | None, str, str], most: float | None) -> GateCheck:
    drop, told, problem = found
    allowed = "–" if most is None else f"at most {most:g}"
    if own.problem:
        return GateCheck(name, allowed, _BROKEN, None if most is None else False, _REPAIR, most)
    if drop is None:
        advice = own.figure.advice
        return GateCheck(name, allowed, f"not known: {problem}", None if most is None else False, advice, most)
    held = None if most is None else math.isfinite(drop) and drop <= most
    advice = "give a larger --k or --quality high" if held is False else ""
    return GateCheck(name, allowed, told, held, advice, most, drop)


def _told(name: str, before: float | None, after: float, drop: float, how: str) -> str:
    """Return `0.56 points: accuracy 94.15 -> 93.59 %, stated in the file, not measured`."""
    if name == ACCURACY:
        return f"{drop:.4g} points: accuracy {before:.6g} -> {after:.6g} %, {how}"
    return f"{drop:.4g}: {name} {before:.6g} -> {after:.6g}, {how}"


def _verdict(own: Release, least: str | None) -> GateCheck:
    allowed = "–" if least is None else least if least == VERDICTS[-1] else f"{least} or better"
    if own.problem:
        return GateCheck("verdict", allowed, _BROKEN, None if least is None else False, _REPAIR)
    verdict = stated_verdict(own.meta)
    if verdict is None or verdict.word not in (*VERDICTS, "broken"):
        found = "the file states none" if verdict is None else f"{verdict.word}, stated in the file"
        return GateCheck("verdict", allowed, found, None if least is None else False, _JUDGE_IT)
    held = None if least is None else verdict.word in VERDICTS[VERDICTS.index(least) :]
    advice = f"try {verdict.advice}" if held is False and verdict.advice else ""
    return GateCheck("verdict", allowed, f"{verdict}, stated in the file", held, advice)


def _since(own: Release, last: Release, difference: Difference | None, limits: GateLimits) -> Iterator[GateCheck]:
    """Yield the checks against the last release."""
    if last.problem:
        found = f"broken: {last.problem}"
        yield GateCheck("last release", "all right", found, False, "give the file as it was released")
    yield _growth(own, last, limits.max_growth)
    if limits.max_drop is not None or (own.figure.found is not None and last.figure.found is not None):
        broken = own if own.problem else last
        yield _drop("metric drop since", broken, _against_last(own.figure, last.figure), limits.max_drop)
    if difference is not None or limits.max_change is not None:
        yield _changes(difference, limits.max_change)


def _growth(own: Release, last: Release, most: str | int | None) -> GateCheck:
    growth = own.bytes - last.bytes
    found = f"{growth:+,} bytes ({growth / max(1, last.bytes):+.2%}), from {last.bytes:,}"
    if most is None:
        return GateCheck("growth since", "–", found, None, value=growth)
    bound = growth_bytes(str(most), last.bytes)
    return GateCheck("growth since", f"at most {bound:,} bytes", found, growth <= bound, "", bound, growth)


def _changes(difference: Difference | None, most: float | None) -> GateCheck:
    """Check the largest change of a tensor's values; a tensor added, removed or reshaped is above any limit."""
    allowed = "–" if most is None else f"at most {most:g}, none added or removed"
    if difference is None:
        return GateCheck("tensor changes since", allowed, _BROKEN, False, _REPAIR, most)
    sizes = {t.name: math.inf if t.relative is None else t.relative for t in difference.tensors}
    worst = max(sizes, key=lambda name: _order(sizes[name]), default=None)
    if worst is None:
        found, largest = f"none, {difference.unchanged} tensors are the same", 0.0
    else:
        largest = sizes[worst]
        size = f"{largest:.4g}" if math.isfinite(largest) else "above any limit"
        counts = f"{len(sizes)} changed, {difference.unchanged} the same"
        found = f"{counts}; largest relative RMS {size}: {worst[:200]}"
    held = None if most is None else math.isfinite(largest) and largest <= most
    return GateCheck("tensor changes since", allowed, found, held, "", most, largest)


def _order(size: float) -> float:
    return math.inf if math.isnan(size) else size
