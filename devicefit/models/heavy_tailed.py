"""Two states with heavy tails in ln R: Student-t, and logistic (R log-logistic)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from devicefit.compressed import Compressed
from devicefit.density import Term
from devicefit.mixture import Mixture
from devicefit.models.components import Build, Component, ln_likelihood_of, mixtures_of
from devicefit.models.core import core
from devicefit.models.family import Family
from devicefit.models.frame import Frame, Places
from devicefit.priors import Prior, core_priors, tail_priors
from devicefit.programming import FloatArray

LEAST_DOF = 1.5
LOGISTIC_SD = np.pi / np.sqrt(3.0)


def _student(
    xp: Any, p: Mapping[str, Any], frame: Frame, places: Places
) -> dict[str, list[Component]]:
    c = core(xp, p, frame, places)
    zero = np.zeros(len(places.position))
    dof = {s: LEAST_DOF + xp.exp(p[f"ln_dof_{s.lower()}"]) for s in ("LRS", "HRS")}
    return {
        "LRS": [Component(zero, c.mean_lrs, c.sd_lrs, "student-t", dof["LRS"])],
        "HRS": [Component(zero, c.mean_hrs, c.sd_hrs, "student-t", dof["HRS"])],
    }


def _logistic(
    xp: Any, p: Mapping[str, Any], frame: Frame, places: Places
) -> dict[str, list[Component]]:
    c = core(xp, p, frame, places)
    zero = np.zeros(len(places.position))
    return {
        "LRS": [Component(zero, c.mean_lrs, c.sd_lrs / LOGISTIC_SD, "logistic")],
        "HRS": [Component(zero, c.mean_hrs, c.sd_hrs / LOGISTIC_SD, "logistic")],
    }


def _family(name: str, build: Build, with_dof: bool) -> Family:
    def priors(frame: Frame) -> tuple[Prior, ...]:
        return (*core_priors(frame), *(tail_priors() if with_dof else ()))

    def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> list[Term]:
        return ln_likelihood_of(build, p, compressed, frame)

    def mixtures(p: Mapping[str, FloatArray], frame: Frame, places: Places) -> dict[str, Mixture]:
        return mixtures_of(build, p, frame, places)

    return Family(name, priors, ln_likelihood, mixtures)


STUDENT_T = _family("student-t", _student, with_dof=True)
LOG_LOGISTIC = _family("log-logistic", _logistic, with_dof=False)
