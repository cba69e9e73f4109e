"""Data that a file names. A file's word opens no path and imports no code: only data that comes with qacomp is used."""

from dataclasses import dataclass
from typing import Self

from qacomp.datasets.registry import list_datasets


@dataclass(frozen=True)
class NamedData:
    """The data spec that a checkpoint, a container or an ONNX file carries; unlike a user's own it is no string."""

    text: str

    @classmethod
    def told(cls, value: object) -> Self | None:
        """Return what metadata say of the data; None where that is no text."""
        return cls(value) if isinstance(value, str) and value else None

    def built_in(self) -> str | None:
        """Return the spec, where it is data that comes with qacomp (digits), else None."""
        kind = next((kind for kind in list_datasets() if kind.name == self.text), None)
        return None if kind is None or kind.argument else self.text

    @property
    def remark(self) -> str:
        """Return why it isn't used, and what the user can do."""
        shown = self.text if len(self.text) <= 120 else f"{self.text[:60]}...{self.text[-50:]}"  # both ends tell most
        return (
            f"the data that the file names ({shown!r}) isn't used: a file opens no path and runs no code; "
            "give --data SPEC, the same one where you trust it"
        )


def chosen_spec(given: str | None, told: NamedData | None) -> tuple[str | None, str | None]:
    """Return the user's spec, else a built-in one that the file names, else None; and why the file's isn't used."""
    if given is not None or told is None:
        return given, None
    spec = told.built_in()
    return spec, None if spec is not None else told.remark
