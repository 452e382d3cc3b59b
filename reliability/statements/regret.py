"""What each choice of programming is expected to cost, and what not knowing better costs.

Who knew better is either an engineer who knew the *design* exactly, the law of its cells and its
accuracy surface, and still programs all its chips alike; or one who knew each *chip* and programmed
it on its own. The first is what further measurements can give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.numerics.arrays import FloatArray
from reliability.decision.requirement import Utility


@dataclass(frozen=True)
class EnergyRegret:
    """Energy spent beyond what would have done, for each programming value.

    Parameters
    ----------
    expected_j : float array, shape (x,)
        Mean over draws of the energy per bit above the least energy that would have met the
        requirement in this draw; 0 in draws that miss the requirement at `x`.
    factor : float array, shape (x,)
        Geometric mean of the same as a factor, over the draws that meet the requirement at `x`;
        NaN where none does.
    missed : float array, shape (x,)
        Share of draws that miss the requirement at `x`.
    never_met : float
        Share of draws in which no programming value meets the requirement.
    """

    expected_j: FloatArray
    factor: FloatArray
    missed: FloatArray
    never_met: float

    def record(self) -> dict[str, Any]:
        """Plain values over the programming variable."""
        return {
            "expected_j": self.expected_j.tolist(),
            "factor_where_met": [float(f) if np.isfinite(f) else None for f in self.factor],
            "p_missed": self.missed.tolist(),
            "share_never_met": self.never_met,
        }


def energy_regret(e_bit_j: FloatArray, met: NDArray[np.bool_]) -> EnergyRegret:
    """Expected opportunity loss in energy of each programming value.

    Parameters
    ----------
    e_bit_j : float array, shape (draw, x)
        Energy per bit.
    met : bool array, shape (draw, x)
        Whether the requirement is met: by enough of the chips of the draw's design, or by the chip
        of the draw.

    Returns
    -------
    EnergyRegret

    Notes
    -----
    Who knew the draw would program at the least energy that meets the requirement. Missing the
    requirement is no saving: it is counted apart, by its probability.
    """
    least = np.where(met, e_bit_j, np.inf).min(axis=1, keepdims=True)
    excess = np.where(met, e_bit_j - np.where(np.isfinite(least), least, 0.0), 0.0)
    ln_factor = np.where(met, np.log(e_bit_j) - np.log(np.where(met, least, 1.0)), 0.0)
    count = met.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.exp(ln_factor.sum(axis=0) / count)
    return EnergyRegret(
        excess.mean(axis=0),
        np.asarray(factor),
        np.asarray(1 - met.mean(axis=0)),
        float(np.mean(~met.any(axis=1))),
    )


@dataclass(frozen=True)
class UtilityRegret:
    """Expected cost under a stated utility, and what perfect information would be worth.

    Parameters
    ----------
    expected_cost : float array, shape (x,)
        Mean over draws of the cost, in ln of energy.
    opportunity_loss : float array, shape (x,)
        Mean over draws of the cost above that of the best programming of the draw.
    best : int
        Index of the least expected cost, which is also that of the least opportunity loss.
    """

    expected_cost: FloatArray
    opportunity_loss: FloatArray
    best: int

    @property
    def perfect_information(self) -> float:
        """Expected value of perfect information: the opportunity loss of the best choice."""
        return float(self.opportunity_loss[self.best])


def utility_regret(
    e_bit_j: FloatArray, loss: FloatArray, p_missed: FloatArray, utility: Utility
) -> UtilityRegret:
    """Expected cost and opportunity loss of each programming value.

    Parameters
    ----------
    e_bit_j : float array, shape (draw, x)
        Energy per bit.
    loss : float array, shape (draw, x)
        Accuracy lost, a fraction; gains count as well. Of the mean chip where a draw is a design.
    p_missed : float array, shape (draw, x)
        Share of the draw's chips that miss the requirement; 0 or 1 where a draw is one chip.
    utility : Utility
        What accuracy is worth.

    Returns
    -------
    UtilityRegret
    """
    cost = np.log(e_bit_j) + 100 * loss * np.log(utility.energy_factor_per_point)
    cost = cost + p_missed * np.log(utility.energy_factor_of_violation)
    expected = cost.mean(axis=0)
    regret = (cost - cost.min(axis=1, keepdims=True)).mean(axis=0)
    return UtilityRegret(expected, regret, int(expected.argmin()))
