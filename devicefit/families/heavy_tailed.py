"""Two states with heavy tails in ln R: Student-t, and logistic (R log-logistic)."""

from __future__ import annotations

from typing import Any

import numpy as np

from devicefit.families.components import Component, Laws
from devicefit.families.core import Here, PathCoordinates, core
from devicefit.families.family import Family
from devicefit.families.frame import Frame
from devicefit.families.prior_tables import core_priors, tail_priors
from devicefit.sampling.prior import Prior

LEAST_DOF = 1.5
LOGISTIC_SD = np.pi / np.sqrt(3.0)


def student_laws(xp: Any, frame: Frame, here: Here, strongest: Here) -> Laws:
    """One Student-t component in ln R for each state."""
    c = core(xp, frame, here)
    dof = {s: LEAST_DOF + xp.exp(here.p[f"ln_dof_{s.lower()}"]) for s in ("LRS", "HRS")}
    return {
        "LRS": [Component(0.0, c.mean_lrs, c.sd_lrs, "student-t", dof["LRS"])],
        "HRS": [Component(0.0, c.mean_hrs, c.sd_hrs, "student-t", dof["HRS"])],
    }


def logistic_laws(xp: Any, frame: Frame, here: Here, strongest: Here) -> Laws:
    """One logistic component in ln R for each state."""
    c = core(xp, frame, here)
    return {
        "LRS": [Component(0.0, c.mean_lrs, c.sd_lrs / LOGISTIC_SD, "logistic")],
        "HRS": [Component(0.0, c.mean_hrs, c.sd_hrs / LOGISTIC_SD, "logistic")],
    }


def student_priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the cores and of the degrees of freedom."""
    return (*core_priors(frame), *tail_priors())


STUDENT_T = Family("student-t", student_priors, student_laws, coordinates=PathCoordinates.of)
LOG_LOGISTIC = Family("log-logistic", core_priors, logistic_laws, coordinates=PathCoordinates.of)
