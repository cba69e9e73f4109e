"""Write a report as JUnit XML, which CI systems can show: one test case for each limit."""

from xml.sax.saxutils import escape, quoteattr

from qacomp.gating.checks import GateCheck, GateReport
from qacomp.plain_text import printable

_LONGEST = 2000  # characters of a text: a name in a file can have megabytes


def junit(report: GateReport) -> str:
    """Return the document. Figures without a limit are in its <system-out>; it states no times."""
    cases = "".join(_case(check, str(report.container)) for check in report.limits)
    told = "".join(f"{_text(f'{c.name}: {c.found}')}\n" for c in report.checks if c.held is None)
    counts = f'tests="{len(report.limits)}" failures="{len(report.failed)}" errors="0" skipped="0"'
    output = f"<system-out>{told}</system-out>\n" if told else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {counts}>\n<testsuite name="qacomp gate" {counts}>\n'
        f"{cases}{output}</testsuite>\n</testsuites>\n"
    )


def _case(check: GateCheck, container: str) -> str:
    start = f"<testcase classname={_attribute(container)} name={_attribute(check.name)}"
    if check.held:
        return f"{start}/>\n"
    return f"{start}><failure message={_attribute(check.found)}>{_text(check.summary)}</failure></testcase>\n"


def _text(text: str) -> str:
    return escape(printable(text, _LONGEST))


def _attribute(text: str) -> str:
    return quoteattr(printable(text, _LONGEST))
