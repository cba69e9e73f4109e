"""Report a compression: as one HTML page that needs no network and no script, and as a summary for notebooks."""

from qacomp.report.contents import Contents, gather
from qacomp.report.page import render, write_report
from qacomp.report.summary import summary_html

__all__ = ["Contents", "gather", "render", "summary_html", "write_report"]
