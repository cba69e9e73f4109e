"""A file that is read from start to end doesn't count whole as memory of the process, and stays readable."""

import sys
from pathlib import Path

import numpy as np
import pytest

from qacomp.formats import Coding, Writer, mapped_pages, open_file

VALUES = 1 << 20


def resident() -> int:
    """Bytes of mapped files that this process has in memory."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssFile"].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process's memory")
def test_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_pages, "_MOST", 4 << 20)
    path = tmp_path / "large.qac"
    with Writer(path, coding=Coding(("raw",)), durable=False) as writer:
        for n in range(8):
            writer.add(f"w{n}", np.full(VALUES, n, np.float32), "exact")
    with open_file(path) as container:
        before = resident()
        arrays = [container.tensor(name) for name in container.names]
        assert resident() - before < 12 << 20 < path.stat().st_size
        again = [container.tensor(name) for name in container.names]
        for n, (one, other) in enumerate(zip(arrays, again, strict=True)):  # what lies in the map is read again
            assert (one == n).all() and (other == n).all()
