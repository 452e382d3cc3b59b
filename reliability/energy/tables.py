"""Energies or currents that a user measured, with their errors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from devicefit.inputs.columns import PROGRAMMING_COLUMNS
from devicefit.inputs.programming import Programming
from devicefit.inputs.refusals import Faults, MeasurementError
from devicefit.measurements.schema import as_numbers
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.stored import MOST_TEXT, reading
from reliability.energy.measured_curve import curve_draws

ERRORS = {
    "e_cell_j": "e_cell_se_j",
    "e_set_j": "e_set_se_j",
    "e_reset_j": "e_reset_se_j",
    "i_set_a": "i_set_se_a",
}
"""Measured columns and their standard errors."""
MOST_ROWS = 200
LEAST_COVERED = 0.5
"""Share of the range of the device fit that a table has to cover."""
_LEAVE_OUT = "leave it out or measure again"


@dataclass(frozen=True)
class EnergyTable:
    """Measured energies of one cell, or SET currents.

    Parameters
    ----------
    columns : dict of str to (x, value, standard error)
        For keys of :data:`ERRORS` float arrays, shape (row,), SI.
    unit : str or None
        Unit of the programming values where the name of their column states it.
    source, sha256 : str
        Name of the file and hash of its bytes.
    simulated : bool
        Whether the file says so.
    """

    columns: dict[str, tuple[FloatArray, FloatArray, FloatArray]]
    unit: str | None
    source: str
    sha256: str
    simulated: bool

    @property
    def is_complete(self) -> bool:
        """Whether SET plus RESET are measured, so that nothing has to be assumed of the pulses."""
        return "e_cell_j" in self.columns or {"e_set_j", "e_reset_j"} <= set(self.columns)

    def draws(
        self,
        key: str,
        x: FloatArray,
        programming: Programming,
        *,
        draws: int,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Posterior draws of ln of a column over programming values, shape (draw, x)."""
        at, value, error = self.columns[key]
        # Normal law of ln with the measured mean and standard error on the plain scale.
        variance = np.log1p((error / value) ** 2)
        return curve_draws(
            programming.coordinate(at), np.log(value) - variance / 2, np.sqrt(variance),
            programming.coordinate(x), draws=draws, rng=rng,
        )  # fmt: skip

    @property
    def range(self) -> tuple[float, float]:
        """Programming values between which every column was measured."""
        ends = [(float(at.min()), float(at.max())) for at, _, _ in self.columns.values()]
        return max(low for low, _ in ends), min(high for _, high in ends)

    def check(self, programming: Programming, low: float, high: float) -> None:
        """Refuse a table that does not belong to the device.

        Raises
        ------
        MeasurementError
            Another unit, or less than :data:`LEAST_COVERED` of the measured range of the device.
        """
        if self.unit is not None and self.unit != programming.unit:
            raise MeasurementError(
                f"{self.source}: programming values are in {self.unit}, but the programming "
                f"variable of the device ({programming.name}) is in {programming.unit}"
            )
        ends = programming.coordinate([low, high])
        for key, (at, _, _) in self.columns.items():
            if programming.is_logarithmic and at.min() <= 0:
                raise MeasurementError(
                    f"{self.source}: programming value {at.min():g} must be positive for a "
                    f"{programming.name}"
                )
            inside = programming.coordinate(np.clip([at.min(), at.max()], low, high))
            covered = float((inside[1] - inside[0]) / (ends[1] - ends[0]))
            if covered < LEAST_COVERED:
                raise MeasurementError(
                    f"{self.source}: {key} was measured from {programming.format(at.min())} to "
                    f"{programming.format(at.max())}, which is {100 * covered:.0f} % of the range "
                    f"of the device fit ({programming.format(low)} to {programming.format(high)}); "
                    f"measure at least {100 * LEAST_COVERED:.0f} % of it, in SI units "
                    f"({programming.unit})"
                )

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "simulated": self.simulated,
            "rows": {key: len(found[0]) for key, found in self.columns.items()},
            "measured": {
                key: {"programming": at.tolist(), "value": value.tolist(), "se": error.tolist()}
                for key, (at, value, error) in self.columns.items()
            },
        }


def read_energies(path: Path | str) -> EnergyTable:
    """Read a table of measured energies or currents.

    Parameters
    ----------
    path : path
        CSV with a column ``programming`` (or ``i_cc_a``, ``set_gate_voltage_v``,
        ``pulse_width_s``) and, SI, ``e_cell_j``, or ``e_set_j`` and ``e_reset_j`` or one of them,
        or ``i_set_a``, each with its standard error (``e_cell_se_j`` and so on). Empty cells are
        left out. A first line ``# simulated ...`` says that nothing was measured.

    Returns
    -------
    EnergyTable

    Raises
    ------
    MeasurementError
        A column is unknown or missing, a value is no positive number, an error is negative or as
        large as its value, or there are fewer than two programming values; all faults of values at
        once.
    """
    path = Path(path)
    what, remedy = "CSV table of energies", "see docs/energy.md"
    with reading(path, what, remedy, refuse=MeasurementError):
        return _read(path)


def _read(path: Path) -> EnergyTable:
    data = path.read_bytes()
    if len(data) > MOST_TEXT:
        raise ValueError(f"it has more than {MOST_TEXT} bytes")
    text = data.decode("utf-8-sig")
    table = pd.read_csv(StringIO(text), comment="#", skipinitialspace=True)
    table.columns = [str(name).strip() for name in table.columns]
    table.index = pd.RangeIndex(1, len(table) + 1)
    known = ("programming", *PROGRAMMING_COLUMNS)
    allowed = (*known, *ERRORS, *ERRORS.values())
    for name in table.columns:
        if name not in allowed:
            raise MeasurementError(
                f"{path}: column {name!r} is not known; known: {', '.join(allowed)}"
            )
    named = [name for name in table.columns if name in known]
    if len(named) != 1:
        found = " and ".join(named) or "none"
        raise MeasurementError(
            f"{path}: one column of programming values is needed, found {found}; name it "
            f"programming or one of {', '.join(PROGRAMMING_COLUMNS)}, in SI units"
        )
    present = [key for key in ERRORS if key in table.columns]
    for key, error_name in ERRORS.items():
        if error_name in table.columns and key not in present:
            raise MeasurementError(f"{path}: {error_name} stands without {key}")
    if not present:
        raise MeasurementError(
            f"{path}: no energies; give e_cell_j, or e_set_j and e_reset_j, or i_set_a"
        )
    if "e_cell_j" in present and len(present) > 1:
        raise MeasurementError(
            f"{path}: e_cell_j is SET plus RESET; leave out {', '.join(present[1:])} or e_cell_j"
        )
    for key in present:
        if ERRORS[key] not in table.columns:
            raise MeasurementError(
                f"{path}: {key} needs its standard error {ERRORS[key]} (0 where it is negligible)"
            )
    faults = Faults(str(path))
    numbers = {
        name: as_numbers(table[name], name, faults).to_numpy()
        for name in (named[0], *present, *(ERRORS[key] for key in present))
    }
    columns = {}
    for key in present:
        x, value, se = numbers[named[0]], numbers[key], numbers[ERRORS[key]]
        use = ~np.isnan(value)
        for name, bad, what, remedy in (
            (named[0], ~np.isfinite(x), "is missing or not finite", "give each energy its value"),
            (key, ~(np.isfinite(value) & (value > 0)), "is not positive and finite", _LEAVE_OUT),
            (ERRORS[key], np.isnan(se), "is missing", "write 0 where it is negligible"),
            (ERRORS[key], se < 0, "is negative", "write 0 where it is negligible"),
            (
                ERRORS[key],
                se >= value,
                f"is as large as its {key}",
                f"such a row says nothing; {_LEAVE_OUT}",
            ),
        ):
            faults.rows(table, use & bad, name, what, remedy)
        if len(np.unique(x[use])) < 2:
            faults.add(
                f"{key} is given at {len(np.unique(x[use]))} programming value; two or more are "
                "needed for a curve"
            )
        if use.sum() > MOST_ROWS:
            faults.add(
                f"{key} has {int(use.sum())} rows; average what was measured at one programming "
                f"value, so that there are at most {MOST_ROWS}"
            )
        columns[key] = (x[use], value[use], se[use])
    faults.tell()
    unit = PROGRAMMING_COLUMNS[named[0]].unit if named[0] in PROGRAMMING_COLUMNS else None
    return EnergyTable(
        columns,
        unit,
        path.name,
        hashlib.sha256(data).hexdigest(),
        text.lstrip().lower().startswith("# simulated"),
    )
