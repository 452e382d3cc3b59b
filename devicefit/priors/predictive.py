"""What a prior says about devices, in quantities that an engineer recognises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import SensingOptions, ln_ber_1t1r, ln_ber_2t2r
from devicefit.families.family import draws_here
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from devicefit.priors.statements import Statement, ln_factor
from devicefit.sampling.prior import Prior, sample_priors

LEAST_EFFECTIVE = 50.0
"""Fewest effective draws from which a prior prediction is made."""

QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
ABSURD_PROBABILITY = 0.2
"""A prior that gives an absurd device more than this is flagged."""

_POOL_PER_DRAW = 20
_LOWEST_LN_R, _HIGHEST_LN_R = -200.0, 200.0
_ONE_SIGMA = 0.15865525393145707  # P(Z < -1) of a standard normal


@dataclass(frozen=True)
class PriorPrediction:
    """Quantiles of what a prior predicts.

    Parameters
    ----------
    programming : Programming
        The programming variable.
    x : float array, shape (x,)
        Its values, SI.
    table : dict of str to dict of str to list of float
        For each quantity its quantiles ``q05, q50, q95`` over the prior (equal-tailed 90 %
        interval and median), each a list over `x`. Quantities: ``lrs_median_ohm``,
        ``hrs_median_ohm``, ``lrs_spread``, ``hrs_spread`` (half of the central 68 % range of
        ln R), ``set_failed`` (share of SETs that read like HRS), ``ber_1t1r``, ``ber_2t2r``.
    flags : tuple of str
        Absurd devices that the prior finds likely, with the remedy.
    effective : float
        Effective number of independent draws behind the quantiles.
    """

    programming: Programming
    x: FloatArray
    table: dict[str, dict[str, list[float]]]
    flags: tuple[str, ...]
    effective: float

    def lines(self) -> list[str]:
        """The table and the flags as lines of plain text."""
        header = (
            f"{'quantity':<16} {self.programming.name:>24} "
            + f"{'5 %':>10} {'50 %':>10} {'95 %':>10}"
        )
        rows = [
            f"{name:<16} {self.programming.format(float(x)):>24} "
            + " ".join(f"{quantiles[q][i]:>10.3g}" for q in QUANTILES)
            for name, quantiles in self.table.items()
            for i, x in enumerate(self.x)
        ]
        basis = f"({self.effective:.0f} effective draws from the prior)"
        return [header, *rows, basis, *(f"check: {flag}" for flag in self.flags)]


def draw_parameters(
    frame: Frame,
    priors: tuple[Prior, ...],
    statements: tuple[Statement, ...],
    *,
    draws: int,
    rng: np.random.Generator,
) -> tuple[dict[str, FloatArray], float]:
    """Draw parameters from their priors and what is stated beside them.

    Parameters
    ----------
    frame : Frame
        Range on which the priors are defined.
    priors : tuple of Prior
        Of one family.
    statements : tuple of Statement
        Further factors of the prior.
    draws : int
        Draws to return.
    rng : numpy Generator
        One use: the draws.

    Returns
    -------
    parameters : dict of str to float array, shape (1, draws) or (1, draws, size)
    effective : float
        Effective number of independent draws, at most `draws`.

    Raises
    ------
    ValueError
        Priors and statements hardly agree: fewer than `LEAST_EFFECTIVE` effective draws.

    Notes
    -----
    Self-normalised importance resampling of `_POOL_PER_DRAW` times as many draws from the priors;
    effective number ``(sum w)^2 / sum w^2`` (Kong 1992).
    """
    if not statements:
        return sample_priors(priors, draws=draws, rng=rng), float(draws)
    pool = sample_priors(priors, draws=_POOL_PER_DRAW * draws, rng=rng)
    ln_weight = ln_factor(pool, frame, statements)[0]
    weight = np.exp(ln_weight - ln_weight.max())
    weight = weight / weight.sum()
    effective = float(1 / (weight**2).sum())
    if effective < LEAST_EFFECTIVE:
        raise ValueError(_disagreement(pool, frame, statements, effective, len(weight)))
    chosen = rng.choice(len(weight), size=draws, p=weight)
    return {k: v[:, chosen] for k, v in pool.items()}, min(effective, float(draws))


def _disagreement(
    pool: dict[str, FloatArray],
    frame: Frame,
    statements: tuple[Statement, ...],
    effective: float,
    size: int,
) -> str:
    """Which statement is farthest from the priors, and what each of the two says."""

    def ln_drawn(s: Statement) -> FloatArray:
        here = draws_here(pool, frame.places(np.array([s.at])))
        return np.asarray(s.ln_quantity(np, frame, here))

    def distance(s: Statement) -> float:
        value = ln_drawn(s)
        return float(abs(np.median(value) - s.mean) / np.hypot(value.std(), s.sd))

    worst = max(statements, key=distance)
    prior = np.exp(np.quantile(ln_drawn(worst), [0.05, 0.95]))
    stated = np.exp(worst.mean + np.array([-1.645, 1.645]) * worst.sd)
    return (
        f"priors and statements agree in {effective:.0f} of {size} draws; at least "
        f"{LEAST_EFFECTIVE:.0f} effective ones are needed. Farthest apart: {worst.quantity} at "
        f"{frame.programming.format(worst.at)}, stated {stated[0]:.3g} to {stated[1]:.3g}, priors "
        f"{prior[0]:.3g} to {prior[1]:.3g} (90 %). Check the statement and its unit; if it is "
        "right, move the parameters behind it with [parameter.NAME], or draw more"
    )


def prior_prediction(
    family: str,
    frame: Frame,
    priors: tuple[Prior, ...],
    statements: tuple[Statement, ...],
    x: FloatArray,
    *,
    options: SensingOptions | None = None,
    draws: int,
    rng: np.random.Generator,
) -> PriorPrediction:
    """Predict devices from a prior alone.

    Parameters
    ----------
    family : str
        Key of :data:`devicefit.families.registry.FAMILIES`.
    frame : Frame
        Range on which the priors are defined.
    priors : tuple of Prior
        Of that family, own or changed by a prior file.
    statements : tuple of Statement
        Further factors of the prior.
    x : float array, shape (x,)
        Programming values, SI.
    options : SensingOptions, optional
        Offset of 2T2R and threshold of 1T1R. Without a threshold each drawn device has its own
        best one: it will be set once the device is known.
    draws : int
        Devices to draw.
    rng : numpy Generator
        One use: the draws.

    Returns
    -------
    PriorPrediction

    Raises
    ------
    ValueError
        The family is unknown, or as :func:`draw_parameters`.
    """
    if family not in FAMILIES:
        raise ValueError(f"family {family!r} is not known; known: {', '.join(FAMILIES)}")
    options = SensingOptions() if options is None else options
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    parameters, effective = draw_parameters(frame, priors, statements, draws=draws, rng=rng)
    laws = FAMILIES[family].mixtures(parameters, frame, frame.places(x))
    lrs, hrs = laws["LRS"], laws["HRS"]
    shape = (1, draws, len(x))
    medians = {s: ln_quantile(law, 0.5, shape) for s, law in laws.items()}
    spreads = {
        s: (ln_quantile(law, 1 - _ONE_SIGMA, shape) - ln_quantile(law, _ONE_SIGMA, shape)) / 2
        for s, law in laws.items()
    }
    if options.threshold_ohm is None:
        ln_ber = _ln_ber_own_threshold(lrs, hrs, medians)
    else:
        ln_ber = ln_ber_1t1r(lrs, hrs, np.log(options.threshold_ohm))
    values = {
        "lrs_median_ohm": np.exp(medians["LRS"]),
        "hrs_median_ohm": np.exp(medians["HRS"]),
        "lrs_spread": spreads["LRS"],
        "hrs_spread": spreads["HRS"],
        # Half of the cells that still read like HRS lie above its median.
        "set_failed": np.minimum(2 * np.exp(lrs.ln_survival(medians["HRS"])), 1.0),
        "ber_1t1r": np.exp(ln_ber),
        "ber_2t2r": np.exp(ln_ber_2t2r(lrs, hrs, options.offset_ln_r)),
    }
    table = {
        name: {q: np.quantile(v, p, axis=(0, 1)).tolist() for q, p in QUANTILES.items()}
        for name, v in values.items()
    }
    return PriorPrediction(frame.programming, x, table, _flags(values, frame, x), effective)


def ln_quantile(law: Mixture, probability: float, shape: tuple[int, ...]) -> FloatArray:
    """Quantile of ln R of a law for each element of its trailing axes, by bisection to 1e-9.

    Parameters
    ----------
    law : Mixture
        Law of ln R.
    probability : float
        P(Y <= quantile), strictly between 0 and 1.
    shape : tuple of int
        Trailing shape of the law.
    """
    low, high = np.full(shape, _LOWEST_LN_R), np.full(shape, _HIGHEST_LN_R)
    for _ in range(39):  # 400 / 2^39 < 1e-9
        middle = (low + high) / 2
        below = law.ln_distribution(middle) < np.log(probability)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _ln_ber_own_threshold(lrs: Mixture, hrs: Mixture, medians: dict[str, FloatArray]) -> FloatArray:
    """BER of 1T1R with the best threshold of each device, between its medians or beyond both."""
    low, high = medians["LRS"], medians["HRS"]
    best = np.full(low.shape, np.log(0.5))  # a threshold beyond all readings
    # Three scans of 17 points, each between the neighbours of the best point before.
    for _ in range(3):
        grid = np.linspace(low, high, 17)
        ln_ber = np.stack([ln_ber_1t1r(lrs, hrs, t) for t in grid])
        at = ln_ber.argmin(axis=0)[None]
        best = np.minimum(best, ln_ber.min(axis=0))
        low = np.take_along_axis(grid, np.maximum(at - 1, 0), axis=0)[0]
        high = np.take_along_axis(grid, np.minimum(at + 1, 16), axis=0)[0]
    return best


def _flags(values: dict[str, FloatArray], frame: Frame, x: FloatArray) -> tuple[str, ...]:
    """Absurd devices that are likely at some programming value."""
    absurd = {
        "the LRS median lies above the HRS median": (
            values["lrs_median_ohm"] > values["hrs_median_ohm"],
            "state lrs_median and hrs_median",
        ),
        "the LRS median is below 100 ohm or above 10 Mohm": (
            (values["lrs_median_ohm"] < 100) | (values["lrs_median_ohm"] > 1e7),
            "state lrs_median",
        ),
        "the HRS median is below 1 kohm or above 100 Gohm": (
            (values["hrs_median_ohm"] < 1e3) | (values["hrs_median_ohm"] > 1e11),
            "state hrs_median",
        ),
        "ln R of the LRS spreads by more than 2": (values["lrs_spread"] > 2, "state lrs_spread"),
        "ln R of the HRS spreads by more than 3": (values["hrs_spread"] > 3, "state hrs_spread"),
    }
    found = []
    for what, (where, remedy) in absurd.items():
        probability = where.mean(axis=(0, 1))
        worst = int(probability.argmax())
        if probability[worst] > ABSURD_PROBABILITY:
            found.append(
                f"{what} with probability {probability[worst]:.2f} at "
                f"{frame.programming.format(float(x[worst]))}; {remedy} in a prior file"
            )
    return tuple(found)
