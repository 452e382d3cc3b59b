"""Mapping of the columns of a user's file to the names and units of the schema."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from devicefit.inputs.programming import Programming, to_si

REQUIRED = ("device_id", "state", "programming", "resistance_ohm")
OPTIONAL_UNITS = {
    "programming_2": None,
    "cycle": None,
    "array_id": None,
    "row": None,
    "column": None,
    "time_after_program_s": "s",
    "temperature_k": "K",
    "prior_cycles": None,
}
ORDER = ("cycle", "time_after_program_s", "temperature_k", "prior_cycles")
"""What puts the readings of one device, state and condition in order, first to last."""
PLACE = ("row", "column")
"""Place of a cell in its array."""
# The other kinds of row: a reading of which only bounds are known, errors counted against a
# threshold, and a published mean and spread.
BOUNDS = ("resistance_low_ohm", "resistance_high_ohm")
COUNTS = ("errors", "trials", "threshold_ohm")
SUMMARY = ("n", "mean_ln_r", "sd_ln_r")
UNIT_OF: dict[str, str | None] = {
    "device_id": None,
    "state": None,
    "programming": None,
    "resistance_ohm": "ohm",
    **OPTIONAL_UNITS,
    **{name: "ohm" for name in BOUNDS},
    "errors": None,
    "trials": None,
    "threshold_ohm": "ohm",
    **dict.fromkeys(SUMMARY),
}
NAMES = ("device_id", "array_id", "state")
"""Columns of text; all others hold numbers."""

# Columns recognised as the programming variable without a mapping: their names state what they
# are and in which unit. Anything else is named by the user, never guessed.
PROGRAMMING_COLUMNS: dict[str, Programming] = {
    "i_cc_a": Programming("SET compliance current", "A"),
    "set_gate_voltage_v": Programming("SET gate voltage", "V"),
    "pulse_width_s": Programming("SET pulse width", "s"),
}


class ColumnError(ValueError):
    """A ``--column`` mapping that cannot be used, with the remedy."""


@dataclass(frozen=True)
class ColumnMapping:
    """One ``OURS=THEIRS[:UNIT]`` mapping.

    Parameters
    ----------
    ours : str
        Name in the schema, or ``programming``.
    theirs : str
        Column of the user's file; ``programming=none`` says that there is none and that all rows
        are of one condition.
    unit : str or None
        Unit in which the user's column is written; None means the SI unit of the schema.
    """

    ours: str
    theirs: str
    unit: str | None = None

    def __post_init__(self) -> None:
        if self.ours not in UNIT_OF:
            raise ColumnError(
                f"--column {self.ours}={self.theirs}: {self.ours!r} is not a name of the schema; "
                f"use one of {', '.join(UNIT_OF)}"
            )
        if self.unit is None:
            return
        try:
            si_unit, _ = to_si(self.unit)
        except ValueError as error:
            raise ColumnError(f"--column {self.ours}={self.theirs}:{self.unit}: {error}") from None
        expected = UNIT_OF[self.ours]
        if self.ours in ("programming", "programming_2"):
            if si_unit not in ("A", "V", "s"):
                raise ColumnError(
                    f"--column {self.ours}={self.theirs}:{self.unit}: the programming variable is "
                    "a current (A, mA, uA, nA), a voltage (V, mV) or a time (s, ms, us, ns)"
                )
        elif expected is None:
            raise ColumnError(
                f"--column {self.ours}={self.theirs}:{self.unit}: {self.ours} has no unit; "
                f"write --column {shlex.quote(f'{self.ours}={self.theirs}')}"
            )
        elif si_unit != expected:
            raise ColumnError(
                f"--column {self.ours}={self.theirs}:{self.unit}: {self.ours} is measured in "
                f"{expected}, not in {si_unit}"
            )

    @property
    def is_none(self) -> bool:
        """Whether the mapping declares that there is no programming variable."""
        return self.ours == "programming" and self.theirs == "none" and self.unit is None

    @property
    def factor(self) -> float:
        """What a value of the user's column is multiplied with to be in SI."""
        return 1.0 if self.unit is None else to_si(self.unit)[1]


def parse_column(text: str) -> ColumnMapping:
    """Read ``OURS=THEIRS[:UNIT]``; what follows the last colon is the unit.

    Raises
    ------
    ColumnError
        No ``=``, an empty side, an unknown name or unit.
    """
    ours, separator, rest = text.partition("=")
    if not separator or not ours.strip() or not rest.strip():
        raise ColumnError(
            f"--column {text!r} is not of the form OURS=THEIRS[:UNIT], for example "
            "programming=I_set:uA or resistance_ohm=R:kohm"
        )
    theirs, colon, unit = rest.rpartition(":")
    if colon and theirs.strip():
        return ColumnMapping(ours.strip(), theirs.strip(), unit.strip())
    return ColumnMapping(ours.strip(), rest.strip())


def parse_columns(texts: Sequence[str]) -> tuple[ColumnMapping, ...]:
    """Read several mappings; a name may be mapped once.

    Raises
    ------
    ColumnError
        As :func:`parse_column`, or one name is mapped twice.
    """
    mappings = tuple(parse_column(text) for text in texts)
    names = [mapping.ours for mapping in mappings]
    for name in names:
        if names.count(name) > 1:
            raise ColumnError(f"--column maps {name!r} {names.count(name)} times; give it once")
    return mappings
