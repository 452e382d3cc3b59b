"""The second programming variable of a device: which of its values are compared, or asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from devicefit.inputs.programming import Programming, beyond
from devicefit.inputs.quantities import programming_value

if TYPE_CHECKING:
    from reliability.decision.comparison import Comparison
    from reliability.device.study import DeviceStudy

MOST = 8
"""Measured values of the second variable that are compared; of more, so many from end to end."""


def compared_values(
    said: str | None, variable: Programming | None, measured: Sequence[float]
) -> tuple[float, ...]:
    """Values of the second variable that are compared: the named one, or those measured.

    Parameters
    ----------
    said : str or None
        What the user says, SI or with its unit.
    variable : Programming or None
        The second variable; None where there is none.
    measured : sequence of float
        Its measured values, ascending, SI.

    Returns
    -------
    tuple of float
        Empty where there is no second variable.

    Raises
    ------
    ValueError
        There is no second variable, or what was said is no value of it within the measured range.
    """
    if variable is None:
        if said is not None:
            raise ValueError(
                f"--second {said}: the device was measured with one programming variable; leave "
                "it out, or fit again with --column programming_2=COLUMN:UNIT"
            )
        return ()
    if said is None:
        if len(measured) <= MOST:
            return tuple(measured)
        return tuple(
            measured[i] for i in np.unique(np.linspace(0, len(measured) - 1, MOST, dtype=int))
        )
    value = programming_value(said, variable, "--second")
    near = [m for m in measured if np.isclose(m, value, rtol=1e-9, atol=0.0)]
    if near:
        return (near[0],)
    if beyond(value, measured[0], measured[-1]):
        raise ValueError(
            f"--second {said}: {variable.name} was measured at "
            f"{_listed(variable, measured)}, which tells nothing of {variable.format(value)}"
        )
    return (value,)


def at_one_second(study: DeviceStudy, said: str | None) -> DeviceStudy:
    """The study at one value of its second variable, which the user names.

    Without a second variable, or where it has one value, nothing has to be named.

    Raises
    ------
    ValueError
        Several values were measured and none is named, or as of :func:`compared_values`.
    """
    variable = study.main.frame.second
    values = compared_values(said, variable, study.second_values)
    if variable is None:
        return study
    if len(values) > 1:
        raise ValueError(
            f"the device was measured at several values of its second variable, {variable.name}: "
            f"{_listed(variable, study.second_values)}; name one, for example --second "
            f"{variable.format(values[0]).replace(' ', '')}"
        )
    return study.at_second(values[0])


def leading(comparisons: Sequence[Comparison]) -> int:
    """Number of the comparison whose best design is the best of all."""
    return min(range(len(comparisons)), key=lambda k: comparisons[k].rank(comparisons[k].ranked[0]))


def _listed(variable: Programming, values: Sequence[float]) -> str:
    shown = [variable.format(value) for value in values]
    return ", ".join(shown if len(shown) <= MOST else [*shown[:3], "...", shown[-1]])
