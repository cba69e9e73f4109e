"""Search the scales of several levels in one file, so that each level ends where its size of --target-size says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import TargetNotReachedError
from qacomp.options.config import CompressConfig
from qacomp.options.file_size import file_sizes
from qacomp.rate.kept import Kept, not_kept
from qacomp.rate.search import scale_for_size
from qacomp.rate.sharing import RateSharing
from qacomp.sharing.share import Packed
from qacomp.sources.source_size import SourceSize
from qacomp.stages.made import Made
from qacomp.stages.run import Run
from qacomp.stages.scale_search import ATTEMPTS, Asked

_LEAST_RATIO = 1.1  # of the steps of neighbouring levels: with less a level would add bytes and hardly any quality
_ATTEMPTS = 2 * ATTEMPTS  # a level's own bytes also move those of the others: of the graph's end, and of their metadata
_FINER = 0.5  # of the steps of the coarser level, where the search of a level begins: a bit for each weight
Rounded: TypeAlias = tuple[float, Mapping[str, NDArray[np.int64]]]  # a level: its scale, and integers by weight


@dataclass(frozen=True)
class Levelled:
    """A source whose tensors have levels.

    made: returns what a container of these tensors holds, measured; level_bytes: its bytes to the end of each level;
    tensor_bytes: the bytes of a container that holds these tensors alone; kept: keeps these.
    """

    made: Callable[[Mapping[str, Packed]], Made]
    level_bytes: Callable[[Made], Sequence[int]]
    tensor_bytes: Callable[[Mapping[str, Packed]], int]
    kept: Kept = not_kept


@dataclass(frozen=True)
class _Found:
    """Tensors with levels, the scale of each level, and the bytes of the tensors alone to the end of each."""

    items: Mapping[str, Packed]
    scales: Sequence[float]
    sizes: Sequence[int]


def asked_levels(config: CompressConfig, size: SourceSize) -> list[Asked]:
    """Return the size that --target-size asks for each level to end at. Raises ConfigError unless sizes ascend."""
    text = config.target_size or ""
    return [Asked(text, most) for most in file_sizes(text, size.fp32)]


def made_for_sizes(sharing: RateSharing, levelled: Levelled, asked: Sequence[Asked], rest: int, run: Run) -> Made:
    """Return the model in which each level ends at the size asked for, or up to 1 % below it.

    rest: bytes beside the shared tensors, as a first guess. Raises TargetNotReachedError for sizes out of reach or too
    near each other; levels that end further below are said in `missed`.
    """
    rests, scales = [rest] * len(asked), [_FINER**level for level in range(len(asked))]
    for _ in range(_ATTEMPTS):
        wanted = [a.left(own) for a, own in zip(asked, rests, strict=True)]
        with run.stage("share"):
            found = _levels(sharing, levelled, wanted, scales, asked[0].text)
        made = levelled.made(found.items)
        sizes, scales = levelled.level_bytes(made), list(found.scales)
        if all(a.is_met(size) for a, size in zip(asked, sizes, strict=True)):
            return made
        rests = [size - own for size, own in zip(sizes, found.sizes, strict=True)]  # graph, norms, biases, metadata
    for a, size in zip(asked, sizes, strict=True):
        if not a.is_met(size):
            made = a.nearest(made, size)
    return made


def _levels(
    sharing: RateSharing,
    levelled: Levelled,
    wanted: Sequence[int],
    starts: Sequence[float],
    text: str,
) -> _Found:
    """Return the tensors with a level for each of `wanted`, bytes of the tensors alone to the end of that level.

    starts: the scale at which the search of each level begins; text: the sizes that the user asked for.
    """
    levels: list[Rounded] = []
    sizes: list[int] = []
    for most, start in zip(wanted, starts, strict=True):
        coarser = tuple(levels)

        def bytes_at(scale: float, coarser: Sequence[Rounded] = coarser) -> int:
            def measured() -> list[int]:
                return [levelled.tensor_bytes(_nested(sharing, [*coarser, (scale, sharing.integers(scale))], text))]

            key = f"bytes of levels at {[*(s for s, _ in coarser), scale]!r}"
            return int(levelled.kept(key, 1, measured)[0])

        scale = scale_for_size(bytes_at, most, start=start, estimate=sharing.estimate)
        if coarser and scale > coarser[-1][0] / _LEAST_RATIO:
            raise TargetNotReachedError(
                f"--target-size {text}: a level would hardly be better than the one before it; give sizes further "
                "apart, such as 50KB,100KB"
            )
        levels.append((scale, sharing.integers(scale)))
        sizes.append(bytes_at(scale))
    return _Found(_nested(sharing, levels, text), [scale for scale, _ in levels], sizes)


def _nested(sharing: RateSharing, levels: Sequence[Rounded], text: str) -> dict[str, Packed]:
    try:
        return sharing.nested([integers for _, integers in levels], [scale for scale, _ in levels])
    except ValueError as error:
        raise TargetNotReachedError(f"--target-size {text}: {error}; give fewer or smaller sizes") from error
