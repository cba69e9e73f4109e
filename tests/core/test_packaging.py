"""What the distributions hold and need: every folder, the packages that are pinned, and the reader's own one."""

import ast
import tomllib
from itertools import chain
from pathlib import Path

from qacomp.formats.native_installed import DIGEST, LIBRARY, PACKAGE, SOURCE_FILES
from qacomp.formats.native_library import FLAGS

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_every_package() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = set()
    for layer in ("formats", "qacomp", "cli"):
        for init in (ROOT / layer).rglob("__init__.py"):
            name = ".".join(init.parent.relative_to(ROOT).parts)
            found.add(name if layer == "qacomp" else f"qacomp.{name}")
    assert listed == found


def test_the_reader_s_own_distribution_is_of_the_same_version_and_packages() -> None:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    own = tomllib.loads((ROOT / "packaging" / "formats" / "pyproject.toml").read_text())
    for key in ("version", "requires-python", "license"):
        assert own["project"][key] == whole["project"][key]
    assert own["build-system"] == whole["build-system"]
    wanted = {line for line in whole["project"]["dependencies"] if line.partition(">=")[0] in {"numpy", "zstandard"}}
    assert set(own["project"]["dependencies"]) == wanted
    data = whole["tool"]["setuptools"]["package-data"]["qacomp.formats"]
    assert own["tool"]["setuptools"]["package-data"]["qacomp_formats"] == [*data, "py.typed"]
    folders = {init.parent.relative_to(ROOT / "formats") for init in (ROOT / "formats").rglob("__init__.py")}
    assert {".".join(("qacomp_formats", *folder.parts)) for folder in folders} == set(
        own["tool"]["setuptools"]["packages"]
    )


def test_the_constraints_pin_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    wanted = [requirement for requirement in wanted if not requirement.startswith(("qacomp[", "qacomp-"))]  # our own
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    for requirement in wanted:
        name = requirement.partition(">=")[0].partition("[")[0].strip().lower().replace("_", "-")
        assert name in pinned, f"{requirement} isn't pinned in constraints.txt"


def test_the_compiled_decoder_is_of_this_version_and_these_sources() -> None:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    own = tomllib.loads((ROOT / "packaging" / "native" / "pyproject.toml").read_text())
    for key in ("version", "requires-python", "license"):
        assert own["project"][key] == whole["project"][key]
    assert own["build-system"] == whole["build-system"]
    version = whole["project"]["version"]
    assert whole["project"]["optional-dependencies"]["native"] == [f"qacomp-native=={version}"]
    assert set(own["tool"]["setuptools"]["package-data"][PACKAGE]) == {LIBRARY, DIGEST}
    text = (ROOT / "packaging" / "native" / "setup.py").read_text()
    told = {line.partition(" = ")[0]: line.partition(" = ")[2].partition("  #")[0] for line in text.splitlines()}
    assert ast.literal_eval(told["FILES"]) == SOURCE_FILES and ast.literal_eval(told["FLAGS"]) == FLAGS
