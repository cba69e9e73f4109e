"""Share what the calls of the Python interface do with their keywords, functions and outputs."""

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.needs import level_numbers
from qacomp.options.running import memory_bytes
from qacomp.progress import Progress
from qacomp.ranks.ranks import Ranks
from qacomp.remote.transfer import fetched, send, target_of
from qacomp.remote.urls import url_name, url_of

if TYPE_CHECKING:
    from qacomp.training.own_functions import OwnFunctions

PathLike: TypeAlias = str | os.PathLike[str]
T = TypeVar("T")
_LEAST_SHARD = 10_000  # bytes: smaller files would be mostly headers


def split_keywords(kind: type[T], keywords: Mapping[str, Any]) -> tuple[T, dict[str, Any]]:
    """Return the keywords that are fields of the dataclass `kind`, as one; and the others, which are settings."""
    own = {found.name for found in fields(kind)}  # type: ignore[arg-type]
    call = kind(**{name: value for name, value in keywords.items() if name in own})
    return call, {name: value for name, value in keywords.items() if name not in own}


def own_functions(loss_fn: Any, settings: dict[str, Any]) -> "tuple[OwnFunctions, dict[str, Any]]":
    """Return the caller's loss and metric; the setting of the metric gets its name, `module:function`."""
    from qacomp.training.own_functions import OwnFunctions

    metric = settings.get("metric", "auto")
    if isinstance(metric, str):
        return OwnFunctions(loss_fn), settings
    return OwnFunctions(loss_fn, metric), {**settings, "metric": _name_of(metric)}


@contextmanager
def output_or_temporary(output: PathLike | None, ranks: Ranks, name: str) -> Iterator[Path]:
    """Yield the output's path, or a file of this name in a temporary folder, which is removed if the block fails.

    A process that isn't the first writes nothing.
    """
    if output is not None or not ranks.first:
        yield Path(output or name)
        return
    folder = tempfile.mkdtemp(prefix="qacomp-")
    try:
        yield Path(folder, name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def shard_bytes_of(size: str | int | None, config: CompressConfig) -> int | None:
    """Return the most bytes of a file of the container, None for one file. Raises ConfigError for an invalid size."""
    if size is None:
        return None
    found = size if isinstance(size, int) else memory_bytes(size)
    if found < _LEAST_SHARD:
        raise ConfigError(f"--shard-size {size}: must be at least {_LEAST_SHARD:,} bytes; give a size such as 2GB")
    if level_numbers(config) is not None:
        raise ConfigError("--shard-size: a progressive file can't be divided; leave it out, or --levels")
    return found


def by_url(
    model: Any,
    output: PathLike | None,
    progress: Progress,
    force: bool,
    run: Callable[[Any, PathLike | None], T],
) -> T:
    """Call `run` with a model and an output of this machine in place of URLs; what it wrote is then sent to the URL.

    The written files stay here as long as the value that `run` returns. Raises RemoteError and OutputExistsError.
    """
    target = url_of(output)
    if target is not None:
        target_of(target, force=force)
    with contextlib.ExitStack() as stack:
        local = stack.enter_context(fetched(Path(model), progress)) if url_of(model) is not None else model
        if target is None:
            return run(local, output)
        place = Path(tempfile.mkdtemp(prefix="qacomp-")) / url_name(target)
        try:
            done = run(local, place)
            send(getattr(done, "output", place), target)
        except BaseException:
            shutil.rmtree(place.parent, ignore_errors=True)
            raise
    removed_with(done, place)
    return done


def removed_with(owner: object, file: Path) -> None:
    """Remove the folder of a temporary file as soon as `owner` isn't used any more."""
    weakref.finalize(owner, shutil.rmtree, file.parent, ignore_errors=True)


def _name_of(function: Any) -> str:
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}:{kind.__qualname__}"
