"""What a compression did, as one HTML page that needs no network and no script, and as a notebook's summary."""

from qacomp.report.contents import Contents, gather
from qacomp.report.page import render, write_report

__all__ = ["Contents", "gather", "render", "write_report"]
