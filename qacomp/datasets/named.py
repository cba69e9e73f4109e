"""Data that a file names. Only data that comes with qacomp is used of it: a file opens no path and runs no code."""

from dataclasses import dataclass
from typing import Self

from qacomp.datasets.registry import list_datasets


@dataclass(frozen=True)
class NamedData:
    """The data spec in a checkpoint, a container or an ONNX file. It isn't a string, so that no loader accepts it."""

    text: str

    @classmethod
    def told(cls, value: object) -> Self | None:
        """Return the data spec for a value out of a file's metadata; None if it isn't text."""
        return cls(value) if isinstance(value, str) and value else None

    def built_in(self) -> str | None:
        """Return the spec if its data come with qacomp (digits), else None."""
        kind = next((kind for kind in list_datasets() if kind.name == self.text), None)
        return None if kind is None or kind.argument else self.text

    @property
    def remark(self) -> str:
        """Return a note: why this data isn't used, and what the user can do."""
        shown = self.text if len(self.text) <= 120 else f"{self.text[:60]}...{self.text[-50:]}"  # both ends say most
        return (
            f"the data that the file names ({shown!r}) isn't used, since a file may open no path and run no code; "
            "give --data SPEC, the same spec if you trust it"
        )


def chosen_spec(given: str | None, told: NamedData | None) -> tuple[str | None, str | None]:
    """Return the spec to use, and a note if the file's spec isn't used, else None.

    The spec is the user's (`given`), else the one that a file names (`told`) if its data come with qacomp, else None.
    """
    if given is not None or told is None:
        return given, None
    spec = told.built_in()
    return spec, None if spec is not None else told.remark
