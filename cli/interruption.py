"""What Ctrl-C leaves behind, said in its one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def saying_what_is_kept(output: Path) -> Iterator[None]:
    """Add to an interruption that finished epochs are kept, where the run saved any beside `output`."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if output.with_name(output.name + ".resume").exists():
            interrupt.add_note("the finished epochs are kept: the same command goes on from there")
        raise
