"""Hold a container against limits, for continuous integration: bytes, metric, verdict, checksums, the last release."""

from qacomp.gating.checks import GateCheck, GateReport
from qacomp.gating.judging import gate
from qacomp.gating.junit import junit
from qacomp.gating.limits import GateLimits
from qacomp.gating.markdown import markdown

__all__ = ["GateCheck", "GateLimits", "GateReport", "gate", "junit", "markdown"]
