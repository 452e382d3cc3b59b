"""Checks of a fit, each a gate with a number, a limit and a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import xarray as xr
from scipy.special import ndtri

from devicefit.checks.counted_share import FALSE_ALARMS
from devicefit.checks.gate import Gate, GateReport
from devicefit.checks.predictive_tests import predictive_tests
from devicefit.checks.sensitivity import SENSITIVE, Sensitivity, curve_sensitivity
from devicefit.checks.totals import MATERIAL
from devicefit.compression.compressed import Compressed
from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.fitting.laplace import EVIDENCE_LOST
from devicefit.fitting.sampler import bulk_ess, r_hat, tail_ess
from devicefit.measurements.measurements import Measurements
from devicefit.prediction.loo import K_LIMIT, Loo

__all__ = [
    "ESS_LIMIT",
    "R_HAT_LIMIT",
    "Gate",
    "GateReport",
    "convergence_gates",
    "gate_report",
    "loo_gate",
    "modes_gate",
    "sensitivity_gate",
]

R_HAT_LIMIT = 1.01
ESS_LIMIT = 400
PARAMETER_R_HAT_LIMIT = 1.05
"""R-hat of parameters where ln BER is judged by itself: chains in other places have far more."""
PARAMETER_ESS_LIMIT = 100
"""Draws from which on R-hat itself can be believed (Vehtari et al. 2021: 50 for each chain)."""
DIVERGENCE_LIMIT = 0.001
COVERED_LIMIT = 0.9
HIGH_K_LIMIT = 0.001
"""Share of devices whose Pareto k may be high, and the number that may be so in any case.

One device of some hundred that failed where few do has a high k in a fifth of the fits of good
data; the scores of families are sums over all devices, which a few do not decide.
"""
HIGH_K_ALLOWED = 3
OTHER_MODES_LIMIT = 0.05
"""Posterior share of other modes below which it does not matter who visits them."""

# Climbs to one mode end within this of each other in ln evidence.
_SAME_MODE = 1.0


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


def modes_gate(posterior: DevicePosterior) -> Gate:
    """Whether other explanations of the data matter that the chains may have missed.

    Starts that ended within 1 of each other in ln evidence count as one mode. Chains that agree
    (R-hat of parameters below `PARAMETER_R_HAT_LIMIT`: one that stays in another mode is far above)
    have visited all modes in proportion, so then there may be several.
    """
    evidence = np.sort(posterior.record["modes"]["ln_evidence"])[::-1]
    first_of_mode = np.concatenate([[True], np.diff(evidence) < -_SAME_MODE])
    weight = np.exp(evidence[first_of_mode] - evidence[0])
    share = float(1 - 1 / weight.sum())
    lost = int(np.sum(evidence[first_of_mode] < evidence[0] - EVIDENCE_LOST))
    agree = bool(posterior.diagnostics.r_hat < PARAMETER_R_HAT_LIMIT)
    return Gate(
        "posterior modes",
        "Is there one explanation of the readings, or do the chains weigh all there are?",
        share < OTHER_MODES_LIMIT or agree,
        share,
        OTHER_MODES_LIMIT,
        f"{len(weight)} modes from {len(evidence)} starts, {lost} of them hopeless; the other "
        f"modes hold {100 * share:.2g} % of the posterior"
        + ("" if share < OTHER_MODES_LIMIT else f"; chains {'do' if agree else 'do not'} agree"),
        "say more in the priors (--priors), measure conditions that tell the explanations apart, "
        "or run more and longer chains",
    )


def loo_gate(found: Loo) -> Gate:
    """Whether the predictions of left-out devices can be trusted."""
    high = len(found.high_k)
    share = high / len(found.devices)
    limit = max(HIGH_K_LIMIT, HIGH_K_ALLOWED / len(found.devices))
    finite = found.pareto_k[np.isfinite(found.pareto_k)]
    largest = f"{finite.max():.2f}" if len(finite) else "none"
    return Gate(
        "left-out devices",
        "Can the prediction of each device without its own readings be had from one fit?",
        share <= limit,
        share,
        limit,
        f"{high} of {len(found.devices)} devices with Pareto k above {K_LIMIT} or not finite; "
        f"largest finite k {largest}",
        "refit without these devices (they are named in the record) and predict them: their "
        "elpd, and the stacking weights that rest on it, flatter the model; look at their readings",
    )


def sensitivity_gate(found: Sensitivity) -> Gate:
    """Whether answers depend on the priors.

    Fails where a change exceeds the limit by more than its Monte-Carlo error, at odds that are
    shared out over the answers, and moves the mean of ln BER by as much as `MATERIAL`.
    """
    at = np.flatnonzero(found.is_answer)
    z = float(ndtri(1 - FALSE_ALARMS / max(len(at), 1)))
    change, least = found.prior.change, found.prior.change - z * found.prior.error
    matters = at[np.abs(found.prior.moved[at]) >= np.log(MATERIAL)]
    moved = matters[least[matters] >= SENSITIVE]
    worst = float(least[matters].max(initial=0.0))
    largest = float(change[matters].max(initial=0.0))
    words = [
        f"{found.names[i]} ({change[i]:.2f}, rests on {found.diagnosis[i]})" for i in moved[:5]
    ]
    finding = (
        f"{len(moved)} of {len(at)} answers move with the priors; of those that move by a factor "
        f"of {MATERIAL:g} or more for each doubling of their power the largest change is "
        f"{largest:.2g}, at least {worst:.2g} beyond its Monte-Carlo error"
    )
    if words:
        finding += ": " + ", ".join(words)
    return Gate(
        "priors",
        "Do the answers that data support stay when the priors get stronger or weaker?",
        not len(moved),
        worst,
        SENSITIVE,
        finding,
        "check the priors of what moves (--priors) against what is known of the device, state them "
        "with the answer, or measure more devices there",
    )


def gate_report(
    posterior: DevicePosterior,
    compressed: Compressed,
    *,
    measurements: Measurements,
    curves: Mapping[str, BerCurve],
    options: SensingOptions,
    left_out: Loo,
) -> GateReport:
    """All gates of one fitted family.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted to `compressed`.
    compressed : Compressed
        The readings.
    measurements : Measurements
        The same, one by one.
    curves : mapping of str to BerCurve
        Curves of this posterior, keys ``"1T1R"`` and others.
    options : SensingOptions
        How bits are read.
    left_out : Loo
        Of this posterior.
    """
    return GateReport(
        (
            *convergence_gates(posterior, curves),
            modes_gate(posterior),
            *predictive_tests(posterior, measurements, options=options).gates,
            loo_gate(left_out),
            sensitivity_gate(curve_sensitivity(posterior, compressed, curves)),
        )
    )
