"""Curves with a known answer, and how many of a program's answers are right."""

from gpusaxs.simulate.bragg import PERTURBATIONS
from gpusaxs.simulate.curves import Simulation, simulate
from gpusaxs.simulate.negatives import HARD_NEGATIVES, TAME_NEGATIVES
from gpusaxs.simulate.score import Accuracy, Tally, score

__all__ = [
    "HARD_NEGATIVES",
    "PERTURBATIONS",
    "TAME_NEGATIVES",
    "Accuracy",
    "Simulation",
    "Tally",
    "score",
    "simulate",
]
