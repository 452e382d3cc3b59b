"""What designs are compared with: the standard network, plain memory, a stated programming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray, IntArray
from reliability.decision.comparison import (
    STANDARD,
    Comparison,
    Design,
    Reference,
    Setting,
    both,
)
from reliability.decision.limits import Condition, weakest_condition
from reliability.decision.requirement import StatedReference
from reliability.decision.safe_set import safe_set
from reliability.plans.codes import NO_CODE, SECDED_72_64, Code, raw_ber_for

NAMES = {
    STANDARD: "the standard network",
    "memory": "plain memory",
    "memory_with_ecc": "plain memory with ECC",
    "stated": "the stated reference",
}
"""References by their keys, as they stand within a sentence."""

MEMORY_CODES: dict[str, Code] = {"memory": NO_CODE, "memory_with_ecc": SECDED_72_64}
"""Codes of plain memory, by the keys of these references."""


def references(setting: Setting, standard: Design, ln_ber: FloatArray) -> tuple[Reference, ...]:
    """References in single cells, for draws that go together.

    Parameters
    ----------
    setting : Setting
        Grid and requirement, with the target of plain memory and a reference of the user's own.
    standard : Design
        The standard network in single cells, without a code.
    ln_ber : float array, shape (draw, x)
        ln of the BER of 1T1R: memory counts wrong bits whatever they store.
    """
    grid, requirement, programming = setting.grid, setting.requirement, setting.programming
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
        excess = memory_excess(setting, key, ln_ber)
        found.append(
            Reference(
                key,
                f"plain 1T1R memory at a residual BER of {_rate(requirement.memory_ber)}, "
                f"{code.name}",
                weakest_condition(grid, excess, programming),
                code.cells_per_bit,
                safe_set(grid, (excess >= 0).mean(axis=0), requirement, programming).lowest,
            )
        )
    if requirement.reference is not None:
        found.append(_stated_reference(requirement.reference, grid, len(ln_ber), programming))
    return tuple(found)


def memory_excess(setting: Setting, key: str, ln_ber: FloatArray) -> FloatArray:
    """Ln of the rate that plain memory tolerates less that of its cells, shape of `ln_ber`.

    Parameters
    ----------
    setting : Setting
        With the residual rate that memory has to reach.
    key : str
        Of :data:`MEMORY_CODES`.
    ln_ber : float array
        ln of the BER of 1T1R.
    """
    raw = raw_ber_for(MEMORY_CODES[key], setting.requirement.memory_ber)
    return np.asarray(np.log(raw) - ln_ber)


def with_conditions(
    comparison: Comparison,
    wanted: Callable[[Design], Condition],
    design: Design,
    rows: IntArray | slice = slice(None),
) -> Comparison:
    """The comparison of a design and the standard network with other conditions.

    Parameters
    ----------
    comparison : Comparison
        All designs.
    wanted : callable
        Condition of a design.
    design : Design
        The one that is looked at.
    rows : int array, shape (pair,), optional
        Pairs whose device the draws of the conditions have.

    Returns
    -------
    Comparison
        The standard network in single cells and the design, with references anew; their yields
        and all else as they were.
    """
    c = comparison
    designs = tuple(replace(one, condition=wanted(one)) for one in both(c, design))
    ln_ber = c.seen[c.plain].ln_ber[c.pairing.rates[rows]]
    return replace(c, designs=designs, references=references(c, designs[0], ln_ber))


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
