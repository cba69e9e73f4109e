"""Parts of a suite that are kept when a run is broken off."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from result import Headline, Results, Row, commit


def kept(folder: Path, name: str, make: Callable[[], Results]) -> Results:
    """What `make` gives, or gave when this commit was measured before: a run that is broken off goes on from there."""
    path = folder / f"{name}.json"
    key = commit()
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["commit"] == key:
            return [Row(**r) for r in stored["rows"]], {k: Headline(**h) for k, h in stored["headlines"].items()}
    rows, headlines = make()
    folder.mkdir(parents=True, exist_ok=True)
    figures = {k: asdict(h) for k, h in headlines.items()}
    path.write_text(json.dumps({"commit": key, "rows": [asdict(r) for r in rows], "headlines": figures}))
    return rows, headlines
