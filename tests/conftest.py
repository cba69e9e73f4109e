"""Fixtures that every test may use; hypothesis runs derandomized so that the same commit gives the same result."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from kept_operators import keep_operators
from warm_process import WarmProcess

QUIET_SECONDS = 0.11  # what `time_scale` counts in on an idle core at 3 GHz
EXPORT_TESTS = ("test_onnx_dense.py", "test_kept_traces.py")  # where every network is traced
LONGEST_TEST = 300  # seconds on such a core, before pytest-timeout ends a test that hangs


def time_scale() -> float:
    """How many times longer than on a quiet core things may take here: at least 1, more on a slow or a busy machine.

    The wall time of a fixed piece of work, plus the processes that wait for each core, since more may come later.
    """
    start = time.perf_counter()
    sum(i * i % 7 for i in range(2_500_000))
    slower = (time.perf_counter() - start) / QUIET_SECONDS
    return max(1.0, slower) + os.getloadavg()[0] / (os.cpu_count() or 1)


# Workers of xdist and processes that tests start inherit all three; whoever sets them decides.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("QACOMP_TIME_SCALE", f"{time_scale():.2f}")
os.environ.setdefault("PYTEST_TIMEOUT", f"{LONGEST_TEST * float(os.environ['QACOMP_TIME_SCALE']):.0f}")
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """No wait for the disk in this process: tests write thousands of small files, and none of them loses its power."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda place: None)
        yield


def pytest_runtest_setup() -> None:
    """Let exports be fast once a test has loaded the exporter, and random weights be the same in every order of tests.

    Nothing is imported for tests that don't import it themselves.
    """
    keep_operators()
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


def pytest_report_header() -> str:
    """One line that tells what a failure by time-out has to be read with."""
    return (
        f"time-outs: {os.environ['QACOMP_TIME_SCALE']} x (QACOMP_TIME_SCALE), {os.environ['PYTEST_TIMEOUT']} s a test"
    )


@pytest.fixture(scope="session")
def patience() -> Callable[[float], float]:
    """Of seconds on a quiet machine, the seconds to wait for another process on this one."""
    scale = float(os.environ["QACOMP_TIME_SCALE"])
    return lambda seconds: seconds * scale


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real checkpoints and data (QACOMP_SHARED, or ../shared beside the checkout); skips where they are absent."""
    root = Path(os.environ.get("QACOMP_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (root / "ckpt").is_dir():
        pytest.skip("no shared checkpoints beside this checkout")
    return root


@pytest.fixture(scope="session")
def warm_process() -> Iterator[WarmProcess]:
    """Fresh Python processes without the seconds that importing torch takes, for programs whose imports stay."""
    process = WarmProcess()
    yield process
    process.end()
