"""Define the result of one limit, and the report of all limits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.diff import Difference


@dataclass(frozen=True)
class GateCheck:
    """One limit. allowed, found: the limit and the figure in words; bound, value: both as numbers, None if unknown.

    held: whether the limit holds; None if no limit was given, so that `found` is only reported; advice: what to do if
    the limit fails. Texts can contain names from the file, unchanged.
    """

    name: str
    allowed: str
    found: str
    held: bool | None
    advice: str = ""
    bound: float | None = None
    value: float | None = None

    @property
    def result(self) -> str:
        """Return `holds`, `fails`, or `no limit`."""
        return "no limit" if self.held is None else "holds" if self.held else "fails"

    @property
    def summary(self) -> str:
        """Return what was found, what was allowed and what to do, in one line."""
        told = f"{self.name}: {self.found}; allowed: {self.allowed}"
        return f"{told}; {self.advice}" if self.advice else told

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `gate --json`."""
        told = asdict(self)
        return {"limit": told.pop("name"), **told, "result": self.result}


@dataclass(frozen=True)
class GateReport:
    """The checks of a container. difference: from the last release; None without one, or if a file is broken."""

    container: Path
    against: Path | None
    checks: tuple[GateCheck, ...]
    difference: Difference | None = None

    @property
    def failed(self) -> tuple[GateCheck, ...]:
        """Return the limits that don't hold, including those that can't be checked."""
        return tuple(check for check in self.checks if check.held is False)

    @property
    def limits(self) -> tuple[GateCheck, ...]:
        """Return the checks that have a limit, without the figures that are only reported."""
        return tuple(check for check in self.checks if check.held is not None)

    @property
    def passed(self) -> bool:
        """Return whether all limits hold."""
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """Return the document that `gate --json` prints."""
        return {
            "file": str(self.container),
            "against": None if self.against is None else str(self.against),
            "passed": self.passed,
            "checks": [check.to_json() for check in self.checks],
            "difference": None if self.difference is None else self.difference.to_json(),
        }
