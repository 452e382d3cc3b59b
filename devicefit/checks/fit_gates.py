"""Checks of a fit, each a gate with a number, a limit and a remedy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from devicefit.checks.counted_share import FALSE_ALARMS
from devicefit.checks.predictive_tests import PredictiveTests
from devicefit.checks.sensitivity import SENSITIVE, Sensitivity, curve_sensitivity
from devicefit.checks.totals import MATERIAL
from devicefit.distributions.sensing import BerCurve
from devicefit.fitting.convergence import PARAMETER_R_HAT_LIMIT, convergence_gates
from devicefit.fitting.fit import DevicePosterior
from devicefit.fitting.gate import Gate, GateReport
from devicefit.likelihood.compressed import Compressed
from devicefit.prediction.loo import K_LIMIT, Loo
from devicefit.sampling.laplace import EVIDENCE_LOST

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
    curves: Mapping[str, BerCurve],
    left_out: Loo,
    tests: PredictiveTests,
) -> GateReport:
    """All gates of one family fitted to single readings.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted to `compressed`.
    compressed : Compressed
        The readings.
    curves : mapping of str to BerCurve
        Curves of this posterior, keys ``"1T1R"`` and others.
    left_out : Loo
        Of this posterior.
    tests : PredictiveTests
        Readings against what is predicted.
    """
    return GateReport(
        (
            *convergence_gates(posterior, curves),
            modes_gate(posterior),
            *tests.gates,
            loo_gate(left_out),
            sensitivity_gate(curve_sensitivity(posterior, compressed, curves)),
        )
    )
