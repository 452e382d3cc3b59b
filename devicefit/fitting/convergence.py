"""Gates of convergence: R-hat, effective sample size, divergences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import xarray as xr

from devicefit.distributions.sensing import BerCurve
from devicefit.fitting.fit import Diagnostics
from devicefit.fitting.gate import Gate
from devicefit.sampling.diagnostics import bulk_ess, r_hat, tail_ess

R_HAT_LIMIT = 1.01
ESS_LIMIT = 400
PARAMETER_R_HAT_LIMIT = 1.05
"""R-hat of parameters where ln BER is judged by itself: chains in other places have far more."""
PARAMETER_ESS_LIMIT = 100
"""Draws from which on R-hat itself can be believed (Vehtari et al. 2021: 50 for each chain)."""
DIVERGENCE_LIMIT = 0.001


class Diagnosed(Protocol):
    """Anything that was sampled."""

    @property
    def diagnostics(self) -> Diagnostics:
        """Convergence."""
        ...


def convergence_gates(
    posterior: Diagnosed, curves: Mapping[str, BerCurve] | None = None
) -> tuple[Gate, ...]:
    """R-hat, effective sample size and divergences.

    Parameters
    ----------
    posterior : Diagnosed
        What was sampled.
    curves : mapping of str to BerCurve, optional
        What is answered: the BER of its draws. Their ln must then meet the limits at every value,
        and of the parameters less is asked: `PARAMETER_R_HAT_LIMIT`, `PARAMETER_ESS_LIMIT`. A
        parameter that only its prior knows may mix slowly and change no answer; one that sits
        elsewhere in each chain is another explanation of the readings, and no answer can be
        trusted. Without curves the parameters are the answer.
    """
    d = posterior.diagnostics
    share = d.divergences / d.draws
    answers = None if curves is None else answer_diagnostics(curves)
    return (
        _agreement(d, answers),
        _effective(d, answers),
        Gate(
            "divergences",
            "Could the sampler follow the posterior everywhere?",
            bool(share <= DIVERGENCE_LIMIT),
            share,
            DIVERGENCE_LIMIT,
            f"{d.divergences} of {d.draws} transitions diverged",
            "raise --target-accept towards 0.99; narrow priors the data cannot inform",
        ),
    )


def answer_diagnostics(curves: Mapping[str, BerCurve]) -> tuple[float, float]:
    """Largest R-hat and smallest effective sample size of ln BER of every scheme and value.

    A BER that does not vary, as one half, is known exactly and left out.
    """
    drawn = np.concatenate([curve.ln_ber for curve in curves.values()], axis=-1)
    varies = np.ptp(drawn, axis=(0, 1)) > 0
    if not varies.any():
        return 1.0, float(drawn.shape[0] * drawn.shape[1])
    found = xr.Dataset({"ln_ber": (("chain", "draw", "place"), drawn[..., varies])})
    ess = min(bulk_ess(found)["ln_ber"], tail_ess(found)["ln_ber"])
    return r_hat(found)["ln_ber"], ess


def _agreement(d: Diagnostics, answers: tuple[float, float] | None) -> Gate:
    """R-hat; the value that fails leads."""
    value, limit, words = d.r_hat, R_HAT_LIMIT, f"largest split R-hat {d.r_hat:.3f}"
    if answers is not None:
        words = (
            f"largest split R-hat of ln BER {answers[0]:.3f}, of parameters {d.r_hat:.3f} (limit "
            f"{PARAMETER_R_HAT_LIMIT:g})"
        )
        if d.r_hat < PARAMETER_R_HAT_LIMIT or not answers[0] < R_HAT_LIMIT:
            value = answers[0]
        else:
            limit = PARAMETER_R_HAT_LIMIT
    return Gate(
        "R-hat",
        "Do the chains agree?",
        bool(value < limit),
        value,
        limit,
        words,
        "run longer (--warmup, --draws); if it stays, the model has modes the data cannot "
        "tell apart",
    )


def _effective(d: Diagnostics, answers: tuple[float, float] | None) -> Gate:
    """Effective sample size; the value that fails leads."""
    ess = min(d.bulk_ess, d.tail_ess)
    value, limit = ess, ESS_LIMIT
    words = f"smallest effective sample size {ess:.0f} of {d.draws} draws"
    if answers is not None:
        words = (
            f"smallest effective sample size of ln BER {answers[1]:.0f}, of parameters {ess:.0f} "
            f"(limit {PARAMETER_ESS_LIMIT}), of {d.draws} draws"
        )
        if ess >= PARAMETER_ESS_LIMIT or not answers[1] >= ESS_LIMIT:
            value = answers[1]
        else:
            limit = PARAMETER_ESS_LIMIT
    return Gate(
        "effective draws",
        "Are there enough independent draws for the interval ends?",
        bool(value >= limit),
        value,
        limit,
        words,
        "raise --draws",
    )
