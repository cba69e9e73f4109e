"""Build qacomp-native: compile formats/c of qacomp into one shared library, which any Python of this platform loads.

It isn't an extension module of Python: `ctypes` loads it. So its wheel has a platform, but no version of Python.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PACKAGE, SOURCES = (
    HERE / "qacomp_native",
    HERE / "c",
)  # made here; an sdist holds both, and is built without the repository
FILES = ("qac.h", "qac.c", "qac_root.h", "qac_root.c", "sections.c")  # as formats/native_installed.py says
FLAGS = ("-std=c99", "-O2", "-DQAC_CRC_TABLES=8", "-shared", "-fPIC")  # as formats/native_library.py says


def make_package() -> None:
    """Compile the library, and note of which sources."""
    command = shlex.split(os.environ.get("CC", "")) or [next(filter(shutil.which, ("cc", "gcc", "clang")), "cc")]
    library = PACKAGE / "qac.so"
    subprocess.run([*command, *FLAGS, "-s", "-o", str(library), FILES[-1]], check=True, cwd=SOURCES)
    library.chmod(0o755)
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in FILES)).hexdigest()
    (PACKAGE / "sources.sha256").write_text(f"{digest}\n", encoding="ascii")


class Compiled(build_py):
    """Compiles the library before its package is copied."""

    def run(self) -> None:
        """Compile, then copy."""
        make_package()
        super().run()


class WithLibrary(Distribution):
    """Says that the wheel holds compiled code, though setuptools compiles none."""

    def has_ext_modules(self) -> bool:
        """Return True."""
        return True


class PlatformWheel(bdist_wheel):
    """A wheel of this platform for every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags: no version of Python, no ABI of it."""
        return "py3", "none", super().get_tag()[2]


if (REPOSITORY / "formats" / "c" / "sections.c").is_file():
    SOURCES.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(REPOSITORY / "formats" / "c" / name, SOURCES / name)
    shutil.copyfile(REPOSITORY / "LICENSE", HERE / "LICENSE")
PACKAGE.mkdir(exist_ok=True)
setup(distclass=WithLibrary, cmdclass={"build_py": Compiled, "bdist_wheel": PlatformWheel})
