"""The Result that a caller gets: the figures of a compression, and what can be done with its container."""

import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from qacomp.exporting.decode import decode
from qacomp.exporting.part import Part
from qacomp.formats import atomic_file
from qacomp.options.running import MEMORY, SECONDS, RunLimits
from qacomp.outputs import Output, claim
from qacomp.report import summary_html, write_report
from qacomp.runtime.limits import limited_runs
from qacomp.sources.input_files import command_files
from qacomp.stages.figures import Figures


@dataclass(frozen=True, repr=False)
class Result(Figures):
    """A finished compression: its `Figures`, and ways to go on with the container."""

    @classmethod
    def of(cls, figures: Figures) -> Self:
        """Return the same figures with what can be done."""
        return cls(**{f.name: getattr(figures, f.name) for f in fields(figures)})

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Copy the container to `path`, whole or not at all; force: over a file that is no container.

        Raises OutputNotWritableError, also where `path` is the container or what it was made from.
        """
        claim([Output(Path(path), "path", "container")], command_files([self.output, Path(self.source)]), force=force)
        with self.output.open("rb") as source, atomic_file(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return Path(path)

    def to_onnx(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        mode: str = "dense",
        level: int | None = None,
        force: bool = False,
    ) -> Any:
        """Return the decoded network as a ModelProto, or written to `path` a `qacomp.exporting.decoded.Decoded`.

        level: of a progressive container, the one with this many shared values;
        mode: how the file holds the weights: dense, lut or affine (see `qacomp.exporting.onnx_options.OnnxOptions`);
        force: replace a file that stands at `path`.
        """
        return decode(self, path, to="onnx", mode=mode, part=Part(level=level), force=force)

    def report(self, path: str | os.PathLike[str], *, measure: bool = True, force: bool = False) -> Path:
        """Write the HTML report: one page that needs no network. measure: ONNX sizes and latency.

        force: replace a file that stands at `path`.
        """
        claim([Output(Path(path), "path")], command_files([self.output, Path(self.source)]), force=force)
        limits = RunLimits.of(self.settings.get("run_seconds", SECONDS), self.settings.get("run_memory", MEMORY))
        with limited_runs(limits):
            return write_report(Path(path), self.output, self, measure=measure)

    def __repr__(self) -> str:
        """Return what a prompt shows: where the container is, and `str`."""
        return f"Result({self.output.name!r}: {self})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return summary_html(self)
