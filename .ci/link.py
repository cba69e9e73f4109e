"""Link what an installed wheel needs, and nothing else, from this environment into the wheel's own.

`link.py NAME[EXTRA] ENVIRONMENT`: as pip would install it, without the minutes that unpacking torch again takes. Fails
if a package is missing here, or has a version that the wheel's metadata refuse.
"""

import sys
import sysconfig
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(wanted: Requirement, found: Distribution, seen: dict[str, Distribution]) -> None:
    """Put what a distribution with some extras needs into `seen`, by name and extras."""
    for text in found.requires or ():
        below = Requirement(text)
        if below.marker and not any(below.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
            continue
        key = f"{canonicalize_name(below.name)}{sorted(below.extras)}"
        if key in seen:
            continue
        own = canonicalize_name(below.name) == canonicalize_name(wanted.name)  # an extra that names another one
        seen[key] = other = found if own else distribution(below.name)
        if not below.specifier.contains(other.version, prereleases=True):
            sys.exit(f"{wanted.name} needs {below}, and {other.version} is here")
        needed(below, other, seen)


def link(found: Distribution, site: Path) -> None:
    """Link the files and folders of a distribution that lie at the top of its environment's packages."""
    for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists() and not name.endswith(".pth"):
            (site / name).symlink_to(found.locate_file(name))


def main(text: str, environment: str) -> None:
    """Link all that the wheel needs."""
    site = Path(sysconfig.get_path("purelib", vars={"base": environment}))
    wanted, seen = Requirement(text), dict[str, Distribution]()
    (wheel,) = (d for d in distributions(path=[str(site)]) if d.name == wanted.name)
    needed(wanted, wheel, seen)
    for found in seen.values():
        if found is not wheel:
            link(found, site)


if __name__ == "__main__":
    main(*sys.argv[1:])
