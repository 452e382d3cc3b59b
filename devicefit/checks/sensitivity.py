"""How much answers depend on the priors, found by power-scaling them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.distributions.sensing import BerCurve
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, ln_posterior
from devicefit.likelihood.compressed import Compressed
from devicefit.numerics.arrays import FloatArray
from devicefit.prediction.reading_density import thinned, thinned_places
from devicefit.priors.statements import Statement, ln_factor
from devicefit.sampling.prior import Prior, ln_prior

SENSITIVE = 0.05
"""Sensitivity from which on an answer depends on what was scaled (Kallioinen et al. 2023).

For a thousand draws of a normal quantity it is a shift of the mean by 0.22 standard deviations for
each doubling of the power, or a change of the standard deviation by 21 %.
"""

SUPPORTED = 0.9
"""Probability above the support line from which on the data support a BER.

At the line itself one error is expected, and any prior moves what one error tells.
"""

POWER = 1.01
"""Power by which priors and likelihoods are raised and lowered: a derivative at one."""

_POWERS = (POWER, 1 / POWER)

DRAWS = 1000
"""Draws at which the likelihood is evaluated."""

# Ending of parameters whose prior is the smoothness of a function, not a stated belief.
_STRUCTURE = "_deviation"
# Rotations that tell what chance adds, and how many errors it exceeds once in a hundred.
_SHIFTS = 99
_CHANCE = 2.3


@dataclass(frozen=True)
class Scaling:
    """What quantities do when one factor of a posterior gets another power.

    Parameters
    ----------
    change : float array, shape (quantity,)
        Change of the distribution of each quantity, as cumulative Jensen-Shannon distance, for
        each doubling of the power, less what chance adds to a distance.
    shift : float array, shape (quantity,)
        Change of its mean for each doubling, in posterior standard deviations.
    moved : float array, shape (quantity,)
        The same in units of the quantity.
    error : float array, shape (quantity,)
        Monte-Carlo standard error of the change.
    """

    change: FloatArray
    shift: FloatArray
    moved: FloatArray
    error: FloatArray

    @property
    def matters(self) -> np.ndarray:
        """Quantities whose change is of note and more than chance, bool, shape (quantity,)."""
        return (self.change >= SENSITIVE) & (self.change > _CHANCE * self.error)


@dataclass(frozen=True)
class Sensitivity:
    """What quantities of a posterior rest on.

    Parameters
    ----------
    names : tuple of str
        The quantities.
    prior, likelihood : Scaling
        Of the same quantities.
    is_answer : bool array, shape (quantity,)
        Quantities that answers rest on; the others are for information.
    """

    names: tuple[str, ...]
    prior: Scaling
    likelihood: Scaling
    is_answer: np.ndarray

    @property
    def diagnosis(self) -> tuple[str, ...]:
        """What each quantity rests on, in words.

        ``"data"``; ``"prior and data"``, which pull apart when both matter; ``"prior"``, when
        the data hardly matter.
        """
        words = {(False, False): "data", (False, True): "data"}
        words |= {(True, True): "prior and data", (True, False): "prior"}
        both = zip(self.prior.matters, self.likelihood.matters, strict=True)
        return tuple(words[bool(p), bool(lik)] for p, lik in both)

    def record(self) -> list[dict[str, Any]]:
        """Plain rows for JSON."""
        diagnosis = self.diagnosis
        rows = []
        for i, name in enumerate(self.names):
            row: dict[str, Any] = {"name": name}
            for factor, scaling in (("prior", self.prior), ("likelihood", self.likelihood)):
                row |= {
                    factor: float(scaling.change[i]),
                    f"{factor}_shift": float(scaling.shift[i]),
                    f"{factor}_moved": float(scaling.moved[i]),
                    f"{factor}_error": float(scaling.error[i]),
                }
            rows.append(row | {"rests_on": diagnosis[i], "is_answer": bool(self.is_answer[i])})
        return rows


def power_scaling(quantities: Mapping[str, FloatArray], ln_density: FloatArray) -> Scaling:
    """Change of quantities with the power of one factor of the posterior.

    Parameters
    ----------
    quantities : mapping of str to float array, shape (draw,)
        Draws of each quantity, chain by chain.
    ln_density : float array, shape (draw,)
        Logarithm of the factor at the same draws, up to a constant: prior or likelihood.

    Returns
    -------
    Scaling

    Raises
    ------
    ValueError
        Draws differ in number, or are not finite; names the quantity.

    Notes
    -----
    Kallioinen et al. 2023 (Stat. Comput. 34:57): draws are weighted by ``density ** (power - 1)``,
    the distance of the weighted from the unweighted draws is divided by ``log2 power``, and the
    mean over the powers `POWER` and ``1 / POWER`` is taken. So close to one the weights need no
    smoothing. The shift is exact at power one: ``ln 2 cov(quantity, ln density) / sd``.

    All priors together have a wide ln density, most of which has nothing to do with a quantity;
    with few draws chance alone relates them. What chance adds is had from 99 rotations of the ln
    density against the quantities, which keep both autocorrelations: the mean of its square is
    taken from the squared change. A distance is changed only by what goes its own way, which is
    about half of the root mean square: 0.47 to 0.61 of it for normal quantities, 29 other
    priors, 1000 and 4000 draws.
    """
    n = len(ln_density)
    for name, values in {"ln_density": ln_density, **quantities}.items():
        if np.shape(values) != (n,):
            raise ValueError(f"{name} has shape {np.shape(values)}; expected ({n},)")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite at draw {int(np.argmin(np.isfinite(values)))}")
    turns = np.unique(np.arange(1, _SHIFTS + 1) * n // (_SHIFTS + 1))
    turned = np.stack([ln_density, *(np.roll(ln_density, turn) for turn in turns)], axis=1)
    weights = [np.exp((power - 1) * (turned - turned.max(axis=0))) for power in _POWERS]
    change, error, shift, moved = [], [], [], []
    for values in quantities.values():
        all_changes = np.mean(
            [
                jensen_shannon(values, weight) / abs(np.log2(power))
                for weight, power in zip(weights, _POWERS, strict=True)
            ],
            axis=0,
        )
        by_chance = float(np.mean(all_changes[1:] ** 2)) if len(turns) else 0.0
        change.append(np.sqrt(max(all_changes[0] ** 2 - by_chance, 0.0)))
        error.append(0.5 * np.sqrt(by_chance))
        shift.append(_shift(values, ln_density))
        moved.append(shift[-1] * values.std())
    return Scaling(np.array(change), np.array(shift), np.array(moved), np.array(error))


def curve_sensitivity(
    posterior: DevicePosterior,
    compressed: Compressed,
    curves: Mapping[str, BerCurve],
    *,
    places: int = 5,
    draws: int = DRAWS,
) -> Sensitivity:
    """Sensitivity of BER curves and of the parameters of the fit they come from.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted to `compressed`.
    compressed : Compressed
        The readings.
    curves : mapping of str to BerCurve
        Curves of every draw of `posterior`, by scheme.
    places : int, optional
        Points of each curve, evenly spaced over its grid.
    draws : int, optional
        Draws for the likelihood, evenly spaced; the prior costs nothing and has all.

    Returns
    -------
    Sensitivity
        First ln BER by scheme and place, then the parameters that are numbers. Answers are those
        BER that lie above the curve's support line with a probability of `SUPPORTED`: what lies
        below rests on the shape of the model, and is marked as such wherever it is shown.
    """
    quantities, answers = {}, []
    for scheme, curve in curves.items():
        for i in sorted({round(k) for k in np.linspace(0, len(curve.programming) - 1, places)}):
            at = posterior.frame.programming.format(float(curve.programming[i]))
            quantities[f"ln BER {scheme} at {at}"] = curve.ln_ber[..., i]
            above = np.mean(curve.ln_ber[..., i] >= np.log(curve.support))
            answers.append(bool(above >= SUPPORTED))
    for row in posterior.record["priors"]:
        if not row["size"]:
            quantities[row["name"]] = posterior.draws[row["name"]].values
            answers.append(False)
    kept = thinned_places(posterior, draws)
    return Sensitivity(
        tuple(quantities),
        power_scaling({n: v.ravel() for n, v in quantities.items()}, ln_priors(posterior)),
        power_scaling(
            {n: v[:, kept].ravel() for n, v in quantities.items()},
            ln_likelihoods(thinned(posterior, draws), compressed),
        ),
        np.array(answers),
    )


def _shift(values: FloatArray, ln_density: FloatArray) -> float:
    sd = values.std()
    if sd == 0:
        return 0.0
    centred = (values - values.mean()) * (ln_density - ln_density.mean())
    return float(np.log(2) * centred.mean() / sd)


def jensen_shannon(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Cumulative Jensen-Shannon distance between draws and the same draws weighted.

    Parameters
    ----------
    values : float array, shape (draw,)
        Draws.
    weight : float array, shape (draw,) or (draw, case)
        Not negative, not all zero.

    Returns
    -------
    float array, shape () or (case,)
        0 where the distribution functions are equal, at most 1.

    Notes
    -----
    Kallioinen et al. 2023 after Nguyen and Vreeken 2015: with distribution functions P and Q,
    ``CJS(P, Q) = int P log2(2 P / (P + Q)) + (Q - P) / (2 ln 2) dx``, symmetric by adding
    CJS(Q, P), normalised by ``int P + Q dx``, square root. The larger of the distances of the
    values and of the values with the sign turned.
    """
    order = np.argsort(values, kind="stable")
    width = np.diff(values[order])
    below = np.cumsum(weight[order], axis=0)
    q = below[:-1] / below[-1]
    p = ((np.arange(len(values) - 1) + 1.0) / len(values)).reshape(-1, *(1,) * (q.ndim - 1))
    return np.maximum(_one_sided(width, p, q), _one_sided(width, 1 - p, 1 - q))


def _one_sided(width: FloatArray, p: FloatArray, q: FloatArray) -> FloatArray:
    bound = width @ (p + q)
    # The parts with (Q - P) cancel in the sum of both directions. log1p: P and Q are close.
    # Rounding may leave a few 1e-17 of 1 - Q below zero.
    both = np.maximum(p + q, 1e-300)
    relative = np.clip((p - q) / both, -1 + 1e-15, 1 - 1e-15)
    total = width @ (p * np.log1p(relative) + q * np.log1p(-relative)) / np.log(2)
    return np.sqrt(np.maximum(total, 0.0) / np.where(bound > 0, bound, 1.0))


def ln_likelihoods(posterior: DevicePosterior, compressed: Compressed) -> FloatArray:
    """Log likelihood that the fit used, up to a constant, under every draw, shape (draw,)."""
    family = FAMILIES[posterior.family]
    priors = family.priors(posterior.frame)
    density = ln_posterior(family, compressed, priors=priors)
    draws = [_flat(posterior, p.name) for p in priors]
    together = np.concatenate([d.reshape(len(d), -1) for d in draws], axis=1)
    standard = (together - density.mean) / density.sd
    # The density has the family's own priors, whatever the fit had.
    of_priors = ln_prior(priors, _named(posterior)).ravel()
    return np.array([density(z)[0] for z in standard]) - of_priors


def _flat(posterior: DevicePosterior, name: str) -> FloatArray:
    """Draws of a parameter, chain by chain, shape (draw, ...)."""
    values = np.asarray(posterior.draws[name].values, dtype=np.float64)
    return values.reshape(-1, *values.shape[2:])


def ln_priors(posterior: DevicePosterior) -> FloatArray:
    """Log prior density of every draw up to a constant, shape (draw,), chain by chain.

    Without smooth deviations and shifts of arrays: their laws are a part of the model, and scaling
    them would say how smooth functions and how alike arrays should be, not what was believed about
    the device.
    """
    rows = [Prior(**row) for row in posterior.record["priors"]]
    believed = [p for p in rows if not p.name.endswith(_STRUCTURE) and p.dim != "array"]
    stated = tuple(Statement(**row) for row in posterior.record.get("statements", ()))
    draws = _named(posterior)
    total = ln_prior(believed, draws) + ln_factor(draws, posterior.frame, stated)
    return np.asarray(total.ravel())


def _named(posterior: DevicePosterior) -> dict[str, FloatArray]:
    return {str(k): np.asarray(v.values) for k, v in posterior.draws.data_vars.items()}
