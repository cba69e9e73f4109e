"""Join the parts of a large source that independent runs have made: the result is the container of one run."""

import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.calls import PathLike, shard_bytes_of
from qacomp.errors import ConfigError, PartsError
from qacomp.formats import Coding, Container, FormatError, ShardWriter, Writer, open_file
from qacomp.formats.shard_index import index_path
from qacomp.formats.sharded import ShardedContainer
from qacomp.options.config import CompressConfig
from qacomp.outputs import claim, container_outputs
from qacomp.progress import Progress, SilentProgress
from qacomp.sources.input_files import command_files
from qacomp.stages.parts import META_KEY, SourcePart
from qacomp.stages.piece_files import read_piece


@dataclass(frozen=True)
class Merged:
    """A container made of parts. output: its path; bytes: of all its files; tensors: how many it has."""

    output: Path
    parts: int
    tensors: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the document that `merge --json` prints."""
        return {**asdict(self), "output": str(self.output)}


@dataclass(frozen=True)
class _Opened:
    """An open part. run: digest of the source and the settings; meta: of the whole container."""

    container: Container
    part: SourcePart
    run: str
    meta: dict[str, Any]


def merge(
    parts: Sequence[PathLike],
    output: PathLike,
    *,
    shard_size: str | int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Merged:
    """Join the parts that `compress(..., part="1/8")` and so on have written, given in any order, into one container.

    It has the bytes that one run over all tensors would have written. shard_size: as in `compress`; force: replace a
    file at `output`, but never a part. Raises PartsError for parts of different sources or settings, a missing part
    and one that is given twice; FormatError for a damaged part; OutputNotWritableError.
    """
    paths, target = [Path(part) for part in parts], Path(output)
    shard_bytes = shard_bytes_of(shard_size, CompressConfig())
    target = target if shard_bytes is None else index_path(target)
    claim(container_outputs(target), command_files(paths), force=force)
    with ExitStack() as stack:
        opened = [_opened(stack.enter_context(open_file(path))) for path in paths]
        ordered = _checked(opened)
        first = ordered[0]
        graph, coding = first.container.graph(), _coding(first)
        writer: Writer | ShardWriter
        if shard_bytes is None:
            writer = Writer(target, graph=graph, meta=first.meta, coding=coding)
        else:
            writer = ShardWriter(target, shard_bytes, graph=graph, meta=first.meta, coding=coding)
        total = sum(len(part.container.names) - 1 for part in ordered)
        with writer, (progress or SilentProgress()).task("tensors", total) as task:
            for part in ordered:
                for _, told in read_piece(part.container):
                    writer.adopt(told.held)
                    task.advance()
    assert writer.report is not None
    return Merged(target, len(ordered), total, writer.report.container_bytes)


def _opened(container: Container) -> _Opened:
    told = container.meta.get(META_KEY)
    told = told if isinstance(told, dict) else {}
    number, of, run, meta = (told.get(name) for name in ("number", "of", "run", "meta"))
    sharded = isinstance(container, ShardedContainer)
    whole = isinstance(run, str) and isinstance(meta, dict)
    if not (isinstance(number, int) and isinstance(of, int) and whole) or not 1 <= number <= of or sharded:
        raise PartsError(f"{container.source}: is no part that `qacomp compress --part` has written; leave it out")
    assert isinstance(run, str) and isinstance(meta, dict)
    return _Opened(container, SourcePart(number, of), run, meta)


def _checked(opened: Sequence[_Opened]) -> list[_Opened]:
    """Return the parts in order. Raises PartsError unless they are all parts of one run, each given once."""
    if not opened:
        raise PartsError("no part is given; give all files that `qacomp compress --part` has written")
    first = opened[0]
    for other in opened:
        where = other.container.source
        if (other.run, other.meta) != (first.run, first.meta):
            raise PartsError(
                f"{where}: was made from another source than {first.container.source}, with other settings or another "
                "version; give parts of one run"
            )
        if other.part.of != first.part.of:
            raise PartsError(
                f"{where}: is one of {other.part.of} parts, but {first.container.source} is one of {first.part.of}"
            )
    by_number: dict[int, _Opened] = {}
    for part in opened:
        twin = by_number.setdefault(part.part.number, part)
        if twin is not part:
            raise PartsError(f"{part.container.source}: is part {part.part.number}, as {twin.container.source} is")
    missing = [n for n in range(1, first.part.of + 1) if n not in by_number]
    if missing:
        few = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise PartsError(f"of {first.part.of} parts {len(missing)} aren't given: {few}; make them with --part")
    return [by_number[n] for n in sorted(by_number)]


def _coding(part: _Opened) -> Coding:
    """Return how the small tensors are coded, which the settings of the parts say. Raises FormatError."""
    settings = part.meta.get("settings")
    try:
        table = tomllib.loads(settings if isinstance(settings, str) else "?")
        config = CompressConfig().with_settings(
            {n: v for n, v in table.items() if n in ("codec", "sharing", "k")}, part.container.source
        )
        return Coding(config.codecs)
    except (ConfigError, ValueError, RecursionError) as error:
        raise FormatError(f"{part.container.source}: its settings are damaged; write it again") from error
