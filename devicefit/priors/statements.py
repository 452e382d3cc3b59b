"""Knowledge about quantities that are no parameters: further factors of a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.families.core import Here, core
from devicefit.families.family import draws_here
from devicefit.families.frame import Frame
from devicefit.numerics.arrays import FloatArray


@dataclass(frozen=True)
class Quantity:
    """A quantity that an engineer can state.

    Parameters
    ----------
    kind : {"resistance", "spread", "probability"}
        How it is written and on which scale its prior is normal: ln ohm, ln, log10 odds.
    parameter : str
        Parameter whose prior it is when it is stated without ``at``.
    core : str or None
        Field of :class:`devicefit.families.core.Core` that it is when it is stated ``at`` a
        programming value; None where it can only be stated without.
    meaning : str
        What it is.
    """

    kind: str
    parameter: str
    core: str | None
    meaning: str


QUANTITIES: dict[str, Quantity] = {
    "lrs_median": Quantity("resistance", "ln_r_lrs", "mean_lrs", "median LRS resistance"),
    "lrs_spread": Quantity("spread", "ln_sd_lrs", "sd_lrs", "sd of ln R_LRS"),
    "hrs_median": Quantity("resistance", "ln_r_hrs", "mean_hrs", "median HRS resistance"),
    "hrs_spread": Quantity("spread", "ln_sd_hrs", "sd_hrs", "sd of ln R_HRS"),
    "set_failure": Quantity(
        "probability", "log10_set_floor", None, "share of SETs that fail at the strong end"
    ),
    "reset_failure": Quantity(
        "probability", "log10_reset_floor", None, "share of RESETs that fail"
    ),
}
"""What can be stated. Medians and spreads are those of well-programmed cells."""


@dataclass(frozen=True)
class Statement:
    """What is known about a quantity at a programming value.

    The prior density is multiplied with ``N(ln quantity(parameters, at); mean, sd)``. What the
    parameters' own priors say about the quantity stays in force beside it.

    Parameters
    ----------
    quantity : str
        Key of `QUANTITIES` with a ``core``.
    at : float
        Programming value, SI.
    mean, sd : float
        Of ln of the quantity (in ohm where it is a resistance).
    source : str
        Where the numbers come from.

    Raises
    ------
    ValueError
        The quantity cannot be stated at a value, or sd is not positive.
    """

    quantity: str
    at: float
    mean: float
    sd: float
    source: str

    def __post_init__(self) -> None:
        known = [name for name, q in QUANTITIES.items() if q.core]
        if self.quantity not in known:
            raise ValueError(
                f"statement about {self.quantity!r}: at a programming value only "
                f"{', '.join(known)} can be stated"
            )
        if not self.sd > 0:
            raise ValueError(f"statement {self.quantity}: sd is {self.sd}; it must be positive")

    def ln_quantity(self, xp: Any, frame: Frame, here: Here) -> Any:
        """Natural logarithm of the stated quantity of well-programmed cells.

        Parameters
        ----------
        xp : module
            ``numpy`` or ``pytensor.tensor``.
        frame : Frame
            Measured range. A second programming variable has its reference value.
        here : Here
            Parameters of :func:`devicefit.families.prior_tables.core_priors` at the place ``at``.
        """
        # A statement is about the technology, not about the first of several arrays.
        p = {name: v * 0.0 if name.endswith("_array") else v for name, v in here.p.items()}
        field = QUANTITIES[self.quantity].core
        assert field is not None
        value = getattr(core(xp, frame, Here(p, here.places)), field)
        return xp.log(value) if field.startswith("sd_") else value

    def ln_factor(self, xp: Any, frame: Frame, here: Here) -> Any:
        """Logarithm of the factor on the prior density, up to a constant."""
        return -0.5 * ((self.ln_quantity(xp, frame, here) - self.mean) / self.sd) ** 2


def ln_factor(
    draws: Mapping[str, FloatArray], frame: Frame, statements: Sequence[Statement]
) -> FloatArray:
    """Logarithm of the factor by which statements multiply the prior density of draws.

    Parameters
    ----------
    draws : mapping of str to float array, shape (chain, draw) or (chain, draw, term or array)
        Draws of the parameters.
    frame : Frame
        Measured range.
    statements : sequence of Statement
        What is stated.

    Returns
    -------
    float array, shape (chain, draw)
        Up to a constant; zero without statements.
    """
    total = np.zeros(next(iter(draws.values())).shape[:2])
    for s in statements:
        here = draws_here(draws, frame.places(np.array([s.at])))
        total = total + s.ln_factor(np, frame, here)[..., 0]
    return total


def statement_record(statements: tuple[Statement, ...]) -> list[dict[str, Any]]:
    """Statements as plain rows for JSON and reports."""
    return [dict(vars(s)) for s in statements]
