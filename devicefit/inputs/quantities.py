"""Numbers with a unit as a user writes them: ``24uA``, ``1.5 V``, ``3e-5``."""

from __future__ import annotations

import math
import re

from devicefit.inputs.programming import Programming, to_si
from devicefit.numerics.stored import shown

_FORM = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*([^\W\d_]*)\s*")


def parse_quantity(value: object) -> tuple[float, str | None]:
    """A finite number in SI and its SI unit, None where it has no unit.

    Parameters
    ----------
    value : object
        A number, or a text of a number with or without its unit, a space between them or not.

    Raises
    ------
    NotAQuantity
        No finite number.
    ValueError
        The unit is unknown; lists the known ones.
    """
    found = _FORM.fullmatch(str(value))
    if found is None or isinstance(value, bool):
        raise NotAQuantity(f"{shown(value)} is not a number")
    number, unit = float(found[1]), None
    if found[2]:
        unit, factor = to_si(found[2])
        # rounded, so that 200 uA is 2e-4 A
        number = float(f"{number * factor:.12g}")
    if not math.isfinite(number):
        raise NotAQuantity(f"{shown(value)} is not finite")
    return number, unit


class NotAQuantity(ValueError):
    """A text that is no finite number."""


def value_in(value: object, unit: str, where: str, *, what: str = "the value") -> float:
    """A number in one unit, SI unless it says its unit.

    Parameters
    ----------
    value : object
        As of :func:`parse_quantity`.
    unit : str
        SI unit that it must have.
    where : str
        For messages, such as the option.
    what : str
        What has this unit.

    Raises
    ------
    ValueError
        No finite number, an unknown unit, or another unit; names both.
    """
    try:
        number, own = parse_quantity(value)
    except NotAQuantity:
        raise ValueError(
            f"{where}: {shown(value)} is no finite number; give one in {unit}, or with its unit"
        ) from None
    except ValueError as error:
        raise ValueError(f"{where}: {shown(value)}: {error}") from None
    if own not in (None, unit):
        raise ValueError(f"{where}: {value} is in {own}; {what} is in {unit}")
    return number


def programming_value(value: object, programming: Programming, where: str) -> float:
    """A value of the programming variable of a device, SI unless it says its unit.

    Raises
    ------
    ValueError
        As of :func:`value_in`, or not positive where the variable must be.
    """
    number = value_in(value, programming.unit, where, what=f"the {programming.name}")
    if programming.is_logarithmic and number <= 0:
        raise ValueError(f"{where}: {value} must be positive, as a {programming.name}")
    return number
