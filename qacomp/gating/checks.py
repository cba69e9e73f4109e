"""One limit and what was found, and all of them together."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.diff import Difference


@dataclass(frozen=True)
class GateCheck:
    """One limit. allowed, found: in words; bound, value: the same as numbers where there are any.

    held: whether the limit holds, None where no limit was given and `found` is only told; advice: what to do where it
    fails. Texts may hold names out of the file, as they stand there.
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
    """A container held against its limits. difference: from the last release, where there is one that can be read."""

    container: Path
    against: Path | None
    checks: tuple[GateCheck, ...]
    difference: Difference | None = None

    @property
    def failed(self) -> tuple[GateCheck, ...]:
        """Return the limits that don't hold, those that can't be checked too."""
        return tuple(check for check in self.checks if check.held is False)

    @property
    def limits(self) -> tuple[GateCheck, ...]:
        """Return the checks that are limits, without what is only told."""
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
