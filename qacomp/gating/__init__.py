"""Check a container against limits on bytes, metric, verdict and changes since the last release; for CI."""

from qacomp.gating.checks import GateCheck, GateReport
from qacomp.gating.judging import gate
from qacomp.gating.junit import junit
from qacomp.gating.limits import GateLimits
from qacomp.gating.markdown import markdown

__all__ = ["GateCheck", "GateLimits", "GateReport", "gate", "junit", "markdown"]
