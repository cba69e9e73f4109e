"""Run a benchmark suite: python benchmarks/run.py SUITE [--size small|paper] [--seeds 3] [--json OUT].

A suite is one file beside this one with `run(size, seeds) -> (rows, headlines)`: see result.py for both. Where it has
`some_rows()`, which says whether only some rows are run, the others of the document that is there already stay. Where
it has `arguments(parser)`, it declares arguments of its own, which `run` takes as keywords.
"""

import argparse
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
NO_SUITES = {"run", "result", "tables", "figures", "networks", "browser"}


def suites() -> list[str]:
    """Names of all suites; a file called NAME_suite.py is NAME, which is a package's name too."""
    return sorted(
        path.stem.removesuffix("_suite")
        for path in HERE.glob("*.py")
        if path.stem not in NO_SUITES and not path.stem.startswith("_")
    )


def main() -> int:
    """Run one suite, write its document, print its headlines."""
    known = suites()
    suite = _module(next((word for word in sys.argv[1:] if word in known), None))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=known)
    parser.add_argument("--size", choices=("small", "paper"), default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the result goes (benchmarks/results/SUITE.json)")
    common = set(vars(parser.parse_args([known[0]])))
    if hasattr(suite, "arguments"):
        suite.arguments(parser)
    arguments = parser.parse_args()
    own = {name: value for name, value in vars(arguments).items() if name not in common}
    import result

    start = time.time()
    rows, headlines = suite.run(arguments.size, arguments.seeds, **own)
    settings = {"size": arguments.size, "seeds": arguments.seeds, **own, "seconds": round(time.time() - start, 1)}
    target = arguments.json or result.RESULTS / f"{arguments.suite}.json"
    data = result.document(arguments.suite, settings, rows, headlines)
    if hasattr(suite, "some_rows") and suite.some_rows():
        data = result.with_earlier(target, data)
    result.write(target, data)
    for key, headline in headlines.items():
        value = "skipped" if headline.value is None else f"{headline.value:.4g} {headline.unit}"
        print(f"{key:32} {value:>20}   bar {headline.bar}")
    print(f"{target}: {len(rows)} rows in {settings['seconds']} s")
    return 0


def _module(name: str | None) -> Any:
    """The suite called `name`, imported."""
    if name is None:
        return None
    return importlib.import_module(name if (HERE / f"{name}.py").exists() else f"{name}_suite")


if __name__ == "__main__":
    sys.exit(main())
