"""Knowledge about quantities that are no parameters: further factors of a prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.models.core import core
from devicefit.models.frame import Frame


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
        Field of :class:`devicefit.models.core.Core` that it is when it is stated ``at`` a
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


def ln_quantity(xp: Any, p: Mapping[str, Any], frame: Frame, statement: Statement) -> Any:
    """Natural logarithm of the stated quantity of well-programmed cells.

    Parameters
    ----------
    xp : module
        ``numpy``, or :data:`devicefit.tape.SYMBOLS`.
    p : mapping
        Parameters as for :func:`devicefit.models.core.core`.
    frame : Frame
        Measured range. A second programming variable has its reference value.
    statement : Statement
        Which quantity, and where.

    Returns
    -------
    array or expression, shape of the parameters + (1,)
    """
    # A statement is about the technology, not about the first of several arrays.
    typical = {name: v * 0.0 if name.endswith("_array") else v for name, v in p.items()}
    field = QUANTITIES[statement.quantity].core
    assert field is not None
    value = getattr(core(xp, typical, frame, frame.places(np.array([statement.at]))), field)
    return xp.log(value) if field.startswith("sd_") else value


def ln_factor(
    xp: Any, p: Mapping[str, Any], frame: Frame, statements: tuple[Statement, ...]
) -> Any:
    """Logarithm of the factor by which statements multiply the prior density, up to a constant.

    Parameters are those of :func:`ln_quantity`; the result has the shape of the parameters, zero
    without statements. A fit adds it to its log density.
    """
    total: Any = 0.0
    for s in statements:
        total = total - 0.5 * ((ln_quantity(xp, p, frame, s)[..., 0] - s.mean) / s.sd) ** 2
    return total


def statement_record(statements: tuple[Statement, ...]) -> list[dict[str, Any]]:
    """Statements as plain rows for JSON and reports."""
    return [dict(vars(s)) for s in statements]
