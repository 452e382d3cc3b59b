"""What designs are compared with: the standard network, plain memory, a stated programming."""

from __future__ import annotations

import numpy as np

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from reliability.decision.comparison import STANDARD, Design, Reference
from reliability.decision.limits import Condition, weakest_condition
from reliability.decision.requirement import Requirement, StatedReference
from reliability.decision.safe_set import safe_set
from reliability.plans.codes import NO_CODE, SECDED_72_64, Code, raw_ber_for

MEMORY_CODES: dict[str, Code] = {"memory": NO_CODE, "memory_with_ecc": SECDED_72_64}
"""Codes of plain memory, by the keys of these references."""


def references(
    standard: Design,
    at: FloatArray,
    grid: FloatArray,
    requirement: Requirement,
    programming: Programming,
) -> list[Reference]:
    """References in single cells, for draws that go together.

    Parameters
    ----------
    standard : Design
        The standard network in single cells, without a code.
    at : float array, shape (draw, x)
        ln of the BER of 1T1R: memory counts wrong bits whatever they store.
    grid : float array, shape (x,)
        Programming values.
    requirement : Requirement
        Target of plain memory, and a reference of the user's own.
    programming : Programming
        The programming variable.
    """
    found = [
        Reference(
            STANDARD,
            "the standard network, 1T1R, held to the same rule",
            standard.condition,
            standard.cells,
            standard.safe.lowest,
        )
    ]
    for key, code in MEMORY_CODES.items():
        raw = raw_ber_for(code, requirement.memory_ber)
        p_reached = (at <= np.log(raw)).mean(axis=0)
        found.append(
            Reference(
                key,
                f"plain 1T1R memory at a residual BER of {_rate(requirement.memory_ber)}, "
                f"{code.name}",
                weakest_condition(grid, np.log(raw) - at, programming),
                code.cells_per_bit,
                safe_set(grid, p_reached, requirement, programming).lowest,
            )
        )
    if requirement.reference is not None:
        found.append(_stated_reference(requirement.reference, grid, len(at), programming))
    return found


def _stated_reference(
    stated: StatedReference, grid: FloatArray, draws: int, programming: Programming
) -> Reference:
    """The programming value that the user compares with, the same in every draw."""
    stated.check(programming, float(grid[0]), float(grid[-1]))
    never = np.zeros(draws, dtype=bool)
    return Reference(
        "stated",
        f"programming at {programming.format(stated.programming)}, as stated, "
        f"{stated.cells_per_bit:g} cells per bit",
        Condition(np.full(draws, stated.programming), never, never),
        stated.cells_per_bit,
        stated.programming,
    )


def _rate(rate: float) -> str:
    """``"1e-5"`` for 0.00001."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
