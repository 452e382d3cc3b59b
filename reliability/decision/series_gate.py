"""Whether energies inferred from the filament's resistance can tell a saving."""

from __future__ import annotations

import numpy as np

from devicefit.fitting.gate import Gate
from reliability.decision.limits import Condition
from reliability.energy.energy import Energy, series_share_at

MOST_SERIES = 0.9
"""Largest share of the series resistance in the LRS.

At a share s an error of the fitted median LRS is 1 / (1 - s) times as large in the filament's
resistance. At 0.9, 2 % of R, less than predictive checks can find, are 20 % of the filament's part:
more than what the exponent in R_filament = V_c / I^b leaves open.
"""

SURE = 0.95
"""Probability with which the share has to be below :data:`MOST_SERIES`."""


def series_gate(energy: Energy, own: Condition, other: Condition) -> Gate | None:
    """Share of the series resistance where a saving looks at the energies of two programmings.

    Of both sides of the saving the larger share counts, for each draw at the programming values of
    this draw. A split that the readings do not determine has a wide posterior, and fails too.

    Parameters
    ----------
    energy : Energy
        Of the paired draws.
    own, other : Condition
        Where the design and its reference stand in each of these draws.

    Returns
    -------
    Gate or None
        None where the saving does not rest on this share: the current is known, the series
        resistance was not told apart, or both sides are one programming.
    """
    if own is other:
        return None
    at_own, at_other = (series_share_at(energy, side.x) for side in (own, other))
    if at_own is None or at_other is None:
        return None
    value = float(np.quantile(np.maximum(at_own, at_other), SURE))
    strongest = energy.programming.format(float(np.median(np.maximum(own.x, other.x))))
    return Gate(
        name="series resistance",
        question="Does the LRS tell the filament's resistance, from which the current is inferred?",
        passed=value <= MOST_SERIES,
        value=value,
        limit=MOST_SERIES,
        finding=f"at about {strongest} up to {100 * value:.0f} % of the LRS resistance is that of "
        f"transistor and wires (with probability {SURE:g} no more), which says nothing of the "
        f"programming current; {100 * MOST_SERIES:.0f} % is the limit",
        remedy="measure SET currents or energies and give them with --energy FILE, or measure the "
        "series resistance by itself and state it with --priors ([parameter.ln_r_series])",
    )
