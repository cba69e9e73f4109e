"""Sweeps: size against quality over settings, by Optuna (the extra `sweep`)."""

from qacomp.sweeping.front import SweepPeer, SweepPoint, SweepReport, pareto
from qacomp.sweeping.reading import show
from qacomp.sweeping.sweep import SweepPlan, sweep

__all__ = ["SweepPeer", "SweepPlan", "SweepPoint", "SweepReport", "pareto", "show", "sweep"]
