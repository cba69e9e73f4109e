"""Define the Result of a compression: its figures, and methods that save, decode and describe the container."""

import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from qacomp.errors import ConfigError
from qacomp.exporting.decode import decode
from qacomp.exporting.part import Part
from qacomp.formats import atomic_file
from qacomp.formats.shard_index import is_shard_index
from qacomp.options.parts import read_parts
from qacomp.options.running import RunLimitOptions
from qacomp.outputs import Output, claim
from qacomp.report import summary_html, write_report
from qacomp.runtime.limits import limited_runs
from qacomp.sources.input_files import command_files
from qacomp.stages.figures import Figures


@dataclass(frozen=True, repr=False)
class Result(Figures):
    """A finished compression: its `Figures`, and methods for its container."""

    @classmethod
    def of(cls, figures: Figures) -> Self:
        """Return a Result with these figures."""
        return cls(**{f.name: getattr(figures, f.name) for f in fields(figures)})

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Copy the container to `path`, whole or not at all; force: replace a file that isn't a container.

        Raises OutputNotWritableError, also if `path` is the container itself or its source, and ConfigError for a
        container in several files.
        """
        if is_shard_index(self.output):
            raise ConfigError(f"{self.output}: is in several files; give compress an output to write them there")
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
        """Return the decoded network as a ModelProto; with `path`, write it and return a Decoded instead.

        See `qacomp.exporting.decoded.Decoded`. mode: form of the weights in the file, "dense", "lut" or "affine" (see
        `qacomp.exporting.onnx_options.OnnxOptions`); level: for a progressive container, the number of shared
        values of the level to decode; force: replace an existing file at `path`.
        """
        return decode(self, path, to="onnx", mode=mode, part=Part(level=level), force=force)

    def report(self, path: str | os.PathLike[str], *, measure: bool = True, force: bool = False) -> Path:
        """Write the HTML report, one page that loads nothing from the network, and return its path.

        measure: include ONNX sizes and latency; force: replace an existing file at `path`.
        """
        claim([Output(Path(path), "path")], command_files([self.output, Path(self.source)]), force=force)
        limits = read_parts("run_limits", self.settings.get("run_limits"), RunLimitOptions)
        with limited_runs(limits.limits):
            return write_report(Path(path), self.output, self, measure=measure)

    def __repr__(self) -> str:
        """Return the text for a Python prompt: the container's name and the summary of `str`."""
        return f"Result({self.output.name!r}: {self})"

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        return summary_html(self)
