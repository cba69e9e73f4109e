"""Fixtures that every test may use; hypothesis runs derandomized so that the same commit gives the same result."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real checkpoints and data (QACOMP_SHARED, or ../shared beside the checkout); skips where they are absent."""
    root = Path(os.environ.get("QACOMP_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (root / "ckpt").is_dir():
        pytest.skip("no shared checkpoints beside this checkout")
    return root
