"""Build the API reference: `python docs/build.py FOLDER`. Needs pdoc. Public names are lazy: they are loaded first."""

import sys
from pathlib import Path

import pdoc

import qacomp

for name in qacomp.__all__:
    getattr(qacomp, name)
pdoc.pdoc("qacomp", "qacomp.formats", "!qacomp.cli", output_directory=Path(sys.argv[1]))
