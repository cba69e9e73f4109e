"""What a conformance suite is: a class of tests of one member, for pytest or to be run by itself. Needs no pytest."""

from collections.abc import Iterable
from typing import ClassVar, TypeVar

S = TypeVar("S", bound="type[Suite]")


class Suite:
    """The tests that every member of a kind must pass. A subclass called Test... with a `name` is found by pytest.

    class TestAbs(RegularizerSuite):
        name = "abs"
    """

    name: ClassVar[str]
    """The member's name: of its decorator and of its entry point."""


def tests_of(suite: type[Suite]) -> list[str]:
    """Return the names of a suite's tests, sorted."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def run_suite(suite: type[Suite]) -> list[str]:
    """Run all tests of a suite without pytest and return their names. Raise what the first failing one raises."""
    for name in tests_of(suite):
        getattr(suite(), name)()
    return tests_of(suite)


def suites_of(suite: S, names: Iterable[str]) -> dict[str, S]:
    """Return a suite for each member by class name: `globals().update(suites_of(RegularizerSuite, ["abs"]))`."""
    made = {}
    for name in names:
        title = "Test" + "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
        made[title] = type(title, (suite,), {"name": name})
    return made  # type: ignore[return-value]


def expect(holds: object, says: str) -> None:
    """Raise AssertionError, which says what a member must do, unless it `holds`."""
    if not holds:
        raise AssertionError(says)
