"""Conformance of an output format: files hold the container's values, are complete, and are the same each time."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from qacomp.errors import OutputNotWritableError
from qacomp.exporting.decode import decode_file
from qacomp.formats import SharedTensor, save_file
from qacomp.testing.suite import Suite, expect

_BOOK = np.array([-1.0, -0.25, 0.5, 2.0], np.float32)


class FormatSuite(Suite):
    """The contract of `register_format`. `container` writes the container that is decoded: two tensors, no graph."""

    def container(self, path: Path) -> None:
        """Write the container at `path`."""
        indices = np.arange(60).reshape(6, 10) % 4
        save_file(path, {"w": SharedTensor(_BOOK, indices.astype(np.uint8)), "b": np.arange(6, dtype=np.float32)})

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a temporary folder that holds the container as m.qac."""
        with tempfile.TemporaryDirectory() as name:
            self.container(Path(name, "m.qac"))
            yield Path(name)

    def test_the_file_holds_what_the_container_does(self) -> None:
        """Check that decoding reports the files' sizes, and no difference from the container's values."""
        with self.folder() as folder:
            done = decode_file(folder / "m.qac", folder / f"out.{self.name}")
            expect(
                done.output.is_file() and done.output_bytes == done.output.stat().st_size,
                "output_bytes must be the file's size",
            )
            expect(
                done.container_bytes == (folder / "m.qac").stat().st_size,
                "container_bytes must be the container's size",
            )
            expect(done.max_abs_error == 0, "float32 values must be those of the container")

    def test_the_same_container_gives_the_same_bytes(self) -> None:
        """Check that decoding the same container twice gives the same bytes."""
        with self.folder() as folder:
            first = decode_file(folder / "m.qac", folder / f"a.{self.name}").output.read_bytes()
            second = decode_file(folder / "m.qac", folder / f"b.{self.name}").output.read_bytes()
            expect(first == second, "the same container gives the same bytes")

    def test_nothing_is_left_where_it_can_not_be_written(self) -> None:
        """Check that a missing folder is an OutputNotWritableError, and no file is left behind."""
        with self.folder() as folder:
            try:
                decode_file(folder / "m.qac", folder / "missing" / f"out.{self.name}")
            except OutputNotWritableError:
                expect(sorted(p.name for p in folder.iterdir()) == ["m.qac"], "nothing is left behind")
            else:
                expect(False, "a missing folder is an OutputNotWritableError")
