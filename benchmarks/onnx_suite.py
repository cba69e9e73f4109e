"""ONNX in and out: look-up files, affine integers, agreement without data, graphs that come back, the report's page.

Real models lie beside the checkout (QACOMP_SHARED, or ../shared); what needs them is skipped without them.
"""

from pathlib import Path

from _kept import kept
from _onnx_affine import affine
from _onnx_grids import grids
from _onnx_look_up import look_up
from _onnx_report import report
from _onnx_round_trips import round_trips
from result import Headline, Results, Row

WORK = Path(__file__).parent / "work" / "onnx"


def run(size: str, seeds: int) -> Results:
    """All parts; `size` and `seeds` change nothing: the inputs are drawn from fixed seeds."""
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for part in (look_up, affine, grids, round_trips, report):
        more, figures = part(WORK) if part is look_up else kept(WORK, part.__name__, part)
        rows += more
        headlines |= figures
    return rows, headlines
