"""Checks of a fit, each a gate with a number, a limit and a remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from devicefit.compression import Compressed
from devicefit.fitting import DevicePosterior
from devicefit.sensing import BerCurve, ErrorCounts

R_HAT_LIMIT = 1.01
ESS_LIMIT = 400
DIVERGENCE_LIMIT = 0.001
COVERED_LIMIT = 0.9
TAIL = 0.01


@dataclass(frozen=True)
class Gate:
    """One check.

    Parameters
    ----------
    name, question : str
        What is checked.
    passed : bool
        Verdict.
    value, limit : float
        The number and what it is compared with.
    finding : str
        The number in words.
    remedy : str
        What to do when it failed.
    """

    name: str
    question: str
    passed: bool
    value: float
    limit: float
    finding: str
    remedy: str

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def convergence_gates(posterior: DevicePosterior) -> tuple[Gate, ...]:
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


def overlap_gate(
    posterior: DevicePosterior,
    counts: ErrorCounts,
    curve: BerCurve,
    *,
    rng: np.random.Generator,
) -> Gate:
    """Posterior predictive check of the readings on the wrong side of the threshold.

    For each group of conditions and state, the counted errors must lie in the 95 % predictive
    interval; at least 90 % of the cells must. Trials are divided by the design effect, so
    readings of one device do not count as independent.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted device.
    counts : ErrorCounts
        From :func:`devicefit.sensing.count_errors`.
    curve : BerCurve
        The 1T1R curve the counts belong to.
    rng : numpy.random.Generator
        For the predictive counts.
    """
    if curve.threshold_ohm is None:
        raise ValueError("the overlap is checked at the threshold of the 1T1R curve")
    programming = posterior.frame.programming
    inside = 0
    cells = 0
    for g in range(len(counts.devices)):
        low, high = counts.programming_low[g], counts.programming_high[g]
        x = programming.grid(low, high, 9) if low < high else np.array([low])
        ln_t = np.interp(
            programming.coordinate(x),
            programming.coordinate(curve.programming),
            np.log(curve.threshold_ohm),
        )
        laws = posterior.mixtures(x)
        ln_p = {"LRS": laws["LRS"].ln_survival(ln_t), "HRS": laws["HRS"].ln_distribution(ln_t)}
        for state, ln_wrong in ln_p.items():
            n = int(counts.trials[state][g])
            if n == 0:
                continue
            p = np.exp(ln_wrong).mean(axis=-1).ravel()
            effect = posterior.record["design_effect"][state]
            effective = max(1, round(n / effect))
            predicted = rng.binomial(effective, np.clip(p, 0, 1)) * (n / effective)
            q_low, q_high = np.quantile(predicted, [0.025, 0.975], method="inverted_cdf")
            # One effective failure is `effect` counted ones; a fraction of it is no surprise.
            slack = n / effective - 1
            inside += int(q_low - slack <= counts.errors[state][g] <= q_high + slack)
            cells += 1
    share = inside / cells
    return Gate(
        "overlap of the states",
        "Does the model predict how many readings are on the wrong side of the threshold?",
        share >= COVERED_LIMIT,
        share,
        COVERED_LIMIT,
        f"{inside} of {cells} cells (group of conditions, state) inside the 95 % predictive "
        "interval",
        "look at the cells outside; use a family with other failures, or leave out conditions "
        "that were censored",
    )


def tail_gate(posterior: DevicePosterior, compressed: Compressed) -> Gate:
    """Posterior predictive check of both tails of both states.

    The share of readings below the predictive 1 % quantile and above the 99 % quantile should be
    1 % each; the gate asks that none of the four is beyond 1 % times or divided by two and more
    than 4 standard errors away (readings divided by the design effect).
    """
    worst, words = 1.0, []
    for state, data in compressed.states.items():
        below = above = 0.0
        for condition in np.unique(data.condition):
            rows = data.condition == condition
            law = posterior.mixtures(compressed.conditions[[condition]])[state]
            at = np.exp(law.thinned(25).ln_distribution(data.ln_r[rows])).mean(axis=(0, 1))
            below += float(data.count[rows][at < TAIL].sum())
            above += float(data.count[rows][at > 1 - TAIL].sum())
        n = float(data.count.sum())
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
