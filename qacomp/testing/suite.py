"""The base of conformance suites: a class of tests for one plug-in, run by pytest or by `run_suite`."""

from collections.abc import Iterable
from typing import ClassVar, TypeVar

S = TypeVar("S", bound="type[Suite]")


class Suite:
    """The tests that every plug-in of a kind must pass. pytest finds a subclass called Test... with a `name`.

    class TestAbs(RegularizerSuite):
        name = "abs"
    """

    name: ClassVar[str]
    """The plug-in's name, as in its decorator and its entry point."""


def tests_of(suite: type[Suite]) -> list[str]:
    """Return the names of a suite's tests, sorted."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def run_suite(suite: type[Suite]) -> list[str]:
    """Run all tests of a suite without pytest; return their names. Raises the error of the first test that fails."""
    for name in tests_of(suite):
        getattr(suite(), name)()
    return tests_of(suite)


def suites_of(suite: S, names: Iterable[str]) -> dict[str, S]:
    """Return a subclass of `suite` for each plug-in name, by class name.

    In a test file: `globals().update(suites_of(RegularizerSuite, ["abs"]))`.
    """
    made = {}
    for name in names:
        title = "Test" + "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
        made[title] = type(title, (suite,), {"name": name})
    return made  # type: ignore[return-value]


def expect(holds: object, says: str) -> None:
    """Raise AssertionError with the requirement `says` unless it `holds`."""
    if not holds:
        raise AssertionError(says)
