"""Compile for a Cortex-M4, where there is a compiler for it with newlib's headers; else the test is skipped."""

import shutil
import subprocess

import pytest

COMPILER = ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4")


def arm_compiler() -> tuple[str, ...]:
    """Return the command of the compiler; skip the test without it, or without newlib, which Debian has apart."""
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"no {COMPILER[0]}")
    command = [*COMPILER, "-x", "c", "-fsyntax-only", "-"]
    if subprocess.run(command, input=b"#include <string.h>\n", capture_output=True, check=False).returncode:
        pytest.skip("no headers of newlib (libnewlib-arm-none-eabi)")
    return COMPILER
