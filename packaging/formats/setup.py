"""Build qacomp-formats from the folder formats/ of qacomp, imported as qacomp_formats.

The name differs from qacomp.formats, so that this distribution and qacomp share no file and can be installed side by
side, in any order, and removed alone. A namespace package would need a `qacomp` without `__init__.py`.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PACKAGE = HERE / "qacomp_formats"  # made here; an sdist holds it, and is built without the repository
_NAME = re.compile(r"\bqacomp\.formats\b")  # in imports and messages; the texts of the format don't hold it


def make_package() -> None:
    """Copy the sources with their package renamed."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for source in sorted((REPOSITORY / "formats").rglob("*")):
        if source.suffix not in (".py", ".md", ".c", ".h", ".js", ".json", ".ts") or "node_modules" in source.parts:
            continue
        target = PACKAGE / source.relative_to(REPOSITORY / "formats")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        target.write_text(_NAME.sub("qacomp_formats", text) if source.suffix == ".py" else text, encoding="utf-8")
    (PACKAGE / "py.typed").touch()
    shutil.copyfile(REPOSITORY / "LICENSE", HERE / "LICENSE")


if (REPOSITORY / "formats" / "SPEC.md").is_file():
    make_package()
setup()
