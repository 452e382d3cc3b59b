"""Checks of a fit, each a gate with a number, a limit and a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from devicefit.compressed import Compressed
from devicefit.fitting import DevicePosterior, Diagnostics
from devicefit.gates import Gate, GateReport
from devicefit.laplace import EVIDENCE_LOST
from devicefit.loo import K_LIMIT, Loo
from devicefit.measurements import Measurements
from devicefit.mixture import Mixture
from devicefit.predicted_failures import PREDICTIVE, FailureCell, predicted_failures
from devicefit.programming import FloatArray
from devicefit.reading_density import conditions_of, thinned
from devicefit.sensing import BerCurve, ErrorCounts
from devicefit.sensitivity import SENSITIVE, Sensitivity, curve_sensitivity
from devicefit.single_readings import single_readings

__all__ = [
    "ESS_LIMIT",
    "R_HAT_LIMIT",
    "Gate",
    "GateReport",
    "convergence_gates",
    "gate_report",
    "loo_gate",
    "modes_gate",
    "overlap_gate",
    "sensitivity_gate",
    "tail_gate",
]

R_HAT_LIMIT = 1.01
ESS_LIMIT = 400
DIVERGENCE_LIMIT = 0.001
COVERED_LIMIT = 0.9
TAIL = 0.01
HIGH_K_LIMIT = 0.001
"""Share of devices whose Pareto k may be high."""
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


def convergence_gates(posterior: Diagnosed) -> tuple[Gate, ...]:
    """R-hat, effective sample size and divergences."""
    d = posterior.diagnostics
    ess = min(d.bulk_ess, d.tail_ess)
    share = d.divergences / d.draws
    return (
        Gate(
            "R-hat",
            "Do the chains agree?",
            bool(d.r_hat < R_HAT_LIMIT),
            d.r_hat,
            R_HAT_LIMIT,
            f"largest split R-hat {d.r_hat:.3f}",
            "run longer (--warmup, --draws); if it stays, the model has modes the data cannot "
            "tell apart",
        ),
        Gate(
            "effective draws",
            "Are there enough independent draws for the interval ends?",
            bool(ess >= ESS_LIMIT),
            ess,
            ESS_LIMIT,
            f"smallest effective sample size {ess:.0f} of {d.draws} draws",
            "raise --draws",
        ),
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


def overlap_gate(cells: Sequence[FailureCell]) -> Gate:
    """Posterior predictive check of the readings on the wrong side of the threshold.

    In each cell the counted errors must lie in the 95 % predictive interval; at least 90 % of the
    cells must.

    Parameters
    ----------
    cells : sequence of FailureCell
        From :func:`devicefit.predicted_failures.predicted_failures`.

    Raises
    ------
    ValueError
        There is no cell.
    """
    if not cells:
        raise ValueError("there is no cell to check; count the errors of readings first")
    inside = sum(cell.inside for cell in cells)
    share = inside / len(cells)
    return Gate(
        "overlap of the states",
        "Does the model predict how many readings are on the wrong side of the threshold?",
        share >= COVERED_LIMIT,
        share,
        COVERED_LIMIT,
        f"{inside} of {len(cells)} cells (group of conditions, state) inside the "
        f"{100 * PREDICTIVE:.0f} % predictive interval",
        "look at the cells outside; use a family with other failures, or leave out conditions "
        "that were censored",
    )


def tail_gate(
    posterior: DevicePosterior, compressed: Compressed, measurements: Measurements | None = None
) -> Gate:
    """Posterior predictive check of both tails of both states.

    The share of readings below the predictive 1 % quantile and above the 99 % quantile should be
    1 % each; the gate asks that none of the four is beyond 1 % times or divided by two and more
    than 4 standard errors away (readings divided by the design effect). A reading that is known by
    bounds, from `measurements`, counts with the share of its predictive probability that is beyond
    the quantile: all of it, where overflow lies beyond.
    """
    few = thinned(posterior, 25 * posterior.draws.sizes["chain"])
    bounded = None if measurements is None else _bounded(measurements, compressed)
    worst, words = 1.0, []
    for state, data in compressed.states.items():
        below = above = 0.0
        for condition in np.unique(data.condition):
            rows = data.condition == condition
            law = few.mixtures(
                compressed.conditions[[condition]],
                second=compressed.second_values[[condition]],
                array=compressed.array[[condition]],
            )[state]
            at = np.exp(law.ln_distribution(data.ln_r[rows])).mean(axis=(0, 1))
            below += float(data.count[rows][at < TAIL].sum())
            above += float(data.count[rows][at > 1 - TAIL].sum())
        n = float(data.count.sum())
        if bounded is not None:
            for condition, part in bounded[bounded["state"] == state].groupby("condition"):
                law = few.mixtures(
                    compressed.conditions[[condition]],
                    second=compressed.second_values[[condition]],
                    array=compressed.array[[condition]],
                )[state]
                low, high = (_mean_distribution(law, part[end].to_numpy()) for end in _ENDS)
                width = np.maximum(high - low, 1e-300)
                below += float(np.clip((TAIL - low) / width, 0.0, 1.0).sum())
                above += float(np.clip((high - 1 + TAIL) / width, 0.0, 1.0).sum())
                n += len(part)
        error = np.sqrt(TAIL * (1 - TAIL) * data.design_effect / n)
        for side, found in (("low", below / n), ("high", above / n)):
            words.append(f"{state} {side} {100 * found:.2g} %")
            if abs(found - TAIL) > 4 * error:
                ratio = found / TAIL if found > TAIL else TAIL / max(found, 1 / n)
                worst = max(worst, ratio)
    return Gate(
        "tails",
        "Do 1 % of the readings lie beyond each predictive 1 % quantile?",
        worst < 2.0,
        worst,
        2.0,
        "beyond the 1 % quantiles: "
        + ", ".join(words)
        + (f"; worst significant ratio {worst:.2g}" if worst > 1 else "; none significantly off"),
        "the tails differ from the model's; compare families and read BER below the support line "
        "with care",
    )


_ENDS = ("low_ohm", "high_ohm")


def _bounded(measurements: Measurements, compressed: Compressed) -> pd.DataFrame:
    """Readings known by bounds, with the index of their condition."""
    read = single_readings(measurements)
    read = read[read["low_ohm"] < read["high_ohm"]]
    return read.assign(condition=conditions_of(read, compressed))


def _mean_distribution(law: Mixture, r_ohm: FloatArray) -> FloatArray:
    """Predictive distribution function at resistances, 0 and infinity among them."""
    inner = (r_ohm > 0) & np.isfinite(r_ohm)
    found = np.where(r_ohm > 0, 1.0, 0.0)
    found[inner] = np.exp(law.ln_distribution(np.log(r_ohm[inner]))).mean(axis=(0, 1))
    return found


def modes_gate(posterior: DevicePosterior) -> Gate:
    """Whether other explanations of the data matter that the chains may have missed.

    Starts that ended within 1 of each other in ln evidence count as one mode. Chains that agree
    (R-hat) have visited all modes in proportion, so then there may be several.
    """
    evidence = np.sort(posterior.record["modes"]["ln_evidence"])[::-1]
    first_of_mode = np.concatenate([[True], np.diff(evidence) < -_SAME_MODE])
    weight = np.exp(evidence[first_of_mode] - evidence[0])
    share = float(1 - 1 / weight.sum())
    lost = int(np.sum(evidence[first_of_mode] < evidence[0] - EVIDENCE_LOST))
    agree = bool(posterior.diagnostics.r_hat < R_HAT_LIMIT)
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
    finite = found.pareto_k[np.isfinite(found.pareto_k)]
    largest = f"{finite.max():.2f}" if len(finite) else "none"
    return Gate(
        "left-out devices",
        "Can the prediction of each device without its own readings be had from one fit?",
        share <= HIGH_K_LIMIT,
        share,
        HIGH_K_LIMIT,
        f"{high} of {len(found.devices)} devices with Pareto k above {K_LIMIT} or not finite; "
        f"largest finite k {largest}",
        "refit without these devices (they are named in the record) and predict them: their "
        "elpd, and the stacking weights that rest on it, flatter the model; look at their readings",
    )


def sensitivity_gate(found: Sensitivity) -> Gate:
    """Whether answers depend on the priors."""
    at = np.flatnonzero(found.is_answer)
    moved = at[found.prior.matters[at]]
    change, noise = found.prior.change, found.prior.noise
    worst = float(change[moved if len(moved) else at].max(initial=0.0))
    words = [
        f"{found.names[i]} ({change[i]:.2f}, rests on {found.diagnosis[i]})" for i in moved[:5]
    ]
    finding = (
        f"{len(moved)} of {len(at)} answers move with the priors, largest change {worst:.2g} for "
        "each doubling of their power"
    )
    if words:
        finding += ": " + ", ".join(words)
    if len(at) and noise[at].max() >= SENSITIVE:
        finding += f"; with these draws changes below {noise[at].max():.2g} may be chance"
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
    counts: ErrorCounts,
    curves: Mapping[str, BerCurve],
    left_out: Loo,
    rng: np.random.Generator,
) -> GateReport:
    """All gates of one fitted family.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted to `compressed`.
    compressed : Compressed
        The readings.
    counts : ErrorCounts
        Errors at the threshold of the 1T1R curve.
    curves : mapping of str to BerCurve
        Curves of this posterior, keys ``"1T1R"`` and others.
    left_out : Loo
        Of this posterior.
    rng : numpy.random.Generator
        For predictive counts.
    """
    cells = predicted_failures(posterior, compressed, counts, curves["1T1R"], rng=rng)
    return GateReport(
        (
            *convergence_gates(posterior),
            modes_gate(posterior),
            overlap_gate(cells),
            tail_gate(posterior, compressed),
            loo_gate(left_out),
            sensitivity_gate(curve_sensitivity(posterior, compressed, curves)),
        )
    )
