"""What is done to readings before a fit: overflow, cells that never switch, cells left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from devicefit.inputs.columns import BOUNDS
from devicefit.inputs.refusals import ROWS_SHOWN, Faults
from devicefit.treatments.far_readings import far_readings, far_warnings
from devicefit.treatments.never_switching import never_switching
from devicefit.treatments.overrange import Censored, Overrange, censor

UNFORMED, SHORTED = "unformed", "shorted"
_MEANING = {
    UNFORMED: "both states high in all readings, alike",
    SHORTED: "both states low in all readings, alike",
}


@dataclass(frozen=True)
class Treatment:
    """What was found and done, for the record.

    Parameters
    ----------
    censored : tuple of dict
        As :attr:`devicefit.treatments.overrange.Censored.record`.
    never_switching : dict of str to tuple of str
        Devices recognised as ``unformed`` and ``shorted``, whether left out or not.
    judged : int
        Devices that were read in both states.
    left_out : dict of str to int
        Devices left out by each word or name that was given.
    """

    censored: tuple[dict[str, Any], ...] = ()
    never_switching: dict[str, tuple[str, ...]] | None = None
    judged: int = 0
    left_out: dict[str, int] | None = None

    def record(self) -> dict[str, Any]:
        """Plain values."""
        known = self.never_switching or {}
        return {
            "censored": [dict(entry) for entry in self.censored],
            "never_switching": {
                **{name: len(known.get(name, ())) for name in (UNFORMED, SHORTED)},
                "of": self.judged,
            },
            "left_out": dict(self.left_out or {}),
        }


@dataclass(frozen=True)
class Treated:
    """Rows after the treatment.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the schema.
    never_switches : bool array, shape (row,)
        Rows of cells that never switch.
    treatment : Treatment
        What was done.
    warnings : tuple of str
        What a reader of the results should know.
    """

    table: pd.DataFrame
    never_switches: np.ndarray
    treatment: Treatment
    warnings: tuple[str, ...]


def treat(
    table: pd.DataFrame, overrange: Overrange, exclude: Sequence[str], faults: Faults
) -> Treated:
    """Censor overflow, recognise cells that never switch, leave out what was named.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the schema, checked one by one.
    overrange : Overrange
        What is known of the range of the instrument.
    exclude : sequence of str
        ``unformed``, ``shorted`` or names of devices.
    faults : Faults
        Gets what cannot be used.
    """
    censored, far = _censored(table, overrange, faults)
    never, judged = _never_switching(censored.table)
    device = table["device_id"].to_numpy(dtype=object)
    left_out: dict[str, int] = {}
    out = np.zeros(len(table), dtype=bool)
    known = set(table["device_id"].dropna())
    for word in dict.fromkeys(exclude):
        if word not in never and word not in known:
            shown = ", ".join(sorted(known)[:ROWS_SHOWN])
            faults.add(
                f"--exclude {word}: no such device; give {UNFORMED}, {SHORTED} or a device_id of "
                f"the file, which has {shown}{' ...' if len(known) > ROWS_SHOWN else ''}"
            )
            continue
        names = set(never[word]) if word in never else {word}
        left_out[word] = len(names)
        out |= np.array([name in names for name in device])
    warnings = _left_out_warnings(left_out, int(out.sum()), len(known))
    if out.any():
        # The range and the groups are those of what is left.
        table, device = table[~out], device[~out]
        censored, far = _censored(table, overrange, faults)
    stay = {name: [d for d in never[name] if d not in set(exclude)] for name in never}
    stay = {name: [] if name in exclude else left for name, left in stay.items()}
    warnings += _never_warnings(stay, judged)
    cells = {d for left in stay.values() for d in left}
    of_cell = censored.table["device_id"].isin(cells).to_numpy(dtype=bool)
    is_far, median = far
    single = is_far & ~of_cell & censored.table["resistance_ohm"].notna().to_numpy()
    return Treated(
        censored.table,
        of_cell,
        Treatment(
            censored.record,
            {name: tuple(found) for name, found in never.items()},
            judged,
            left_out,
        ),
        (*censored.warnings, *far_warnings(censored.table, single, median), *warnings),
    )


def _censored(
    table: pd.DataFrame, overrange: Overrange, faults: Faults
) -> tuple[Censored, tuple[np.ndarray, np.ndarray]]:
    if "resistance_ohm" not in table:
        table = table.assign(resistance_ohm=np.nan)
    far = far_readings(table)
    return censor(table, overrange, faults, ordinary=~far[0]), far


def _never_switching(table: pd.DataFrame) -> tuple[dict[str, tuple[str, ...]], int]:
    """Names of cells that never switch, and how many were judged."""
    r = table["resistance_ohm"].to_numpy(dtype=np.float64)
    low, high = (
        table[name].to_numpy(dtype=np.float64) if name in table else np.full(len(r), np.nan)
        for name in BOUNDS
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # Beyond the range of the instrument is infinitely far; between two bounds is their middle.
        y = np.log(np.where(np.isnan(r), np.sqrt(np.fmax(low, 0.0) * high), r))
        only = np.isnan(r)
        y = np.where(only & np.isfinite(low) & ~np.isfinite(high), np.inf, y)
        y = np.where(only & ~(low > 0) & np.isfinite(high), -np.inf, y)
    rows = ~np.isnan(y) & table["device_id"].notna().to_numpy()
    part = table[rows]
    code, names = pd.factorize(part["device_id"], sort=True)
    keys = [name for name in ("programming", "programming_2") if name in part]
    found = never_switching(
        np.asarray(code, dtype=np.int64),
        (part["state"] == "HRS").to_numpy(dtype=bool),
        part.groupby(keys).ngroup().to_numpy(dtype=np.int64),
        y[rows],
    )
    cells = {
        name: tuple(str(names[i]) for i in chosen)
        for name, chosen in ((UNFORMED, found.unformed), (SHORTED, found.shorted))
    }
    return cells, found.judged


def _never_warnings(cells: dict[str, list[str]], judged: int) -> tuple[str, ...]:
    return tuple(
        f"{len(names)} of {judged} cells never switch, they are {name} ({_MEANING[name]}): "
        f"{', '.join(names[:ROWS_SHOWN])}"
        + (f" and {len(names) - ROWS_SHOWN} more" if len(names) > ROWS_SHOWN else "")
        + ". The fit keeps them, as cells that always fail; leave them out with --exclude "
        f"{name} where the memory maps out such cells"
        for name, names in cells.items()
        if names
    )


def _left_out_warnings(left_out: dict[str, int], rows: int, devices: int) -> tuple[str, ...]:
    if not left_out:
        return ()
    words = ", ".join(
        f"{number} {name} cell{'s' if number != 1 else ''}" if name in _MEANING else f"cell {name}"
        for name, number in left_out.items()
    )
    return (f"left out by --exclude, of {devices} devices: {words} ({rows} readings)",)
