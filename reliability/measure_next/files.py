"""Candidates for the next measurement from texts and files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from devicefit.inputs.programming import Programming
from devicefit.inputs.quantities import programming_value
from devicefit.numerics.stored import read_text, read_toml, reading, shown
from reliability.measure_next.candidates import (
    Candidate,
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)

KEYS = ("programming", "devices", "cycles", "more_cycles", "chips", "images", "energy_se")
"""What a candidate can be described by."""

FORMS = (
    "programming=VALUE:devices=N[:cycles=N], more_cycles=N, chips=N, images=N, or "
    "programming=VALUE:energy_se=FRACTION"
)
_KINDS: tuple[tuple[frozenset[str], frozenset[str], type], ...] = (
    (frozenset({"programming", "devices"}), frozenset({"cycles"}), MoreDevices),
    (frozenset({"more_cycles"}), frozenset(), MoreCycles),
    (frozenset({"chips"}), frozenset(), MoreChips),
    (frozenset({"images"}), frozenset(), MoreImages),
    (frozenset({"programming", "energy_se"}), frozenset(), MeasuredEnergy),
)


def candidate_of(fields: Mapping[str, object], programming: Programming, where: str) -> Candidate:
    """A candidate from named values.

    Parameters
    ----------
    fields : mapping
        Values by the names of :data:`KEYS`; numbers, or texts of numbers; a programming value may
        carry its unit, ``"20uA"``.
    programming : Programming
        Whose unit such a value must have.
    where : str
        For messages.

    Raises
    ------
    ValueError
        Unknown names, a combination that is no candidate, or a value that is no number.
    """
    unknown = [key for key in fields if key not in KEYS]
    if unknown:
        raise ValueError(f"{where}: {', '.join(unknown)} not known; known: {', '.join(KEYS)}")
    names = frozenset(fields)
    for needed, optional, kind in _KINDS:
        if needed <= names <= needed | optional:
            values = {
                name: programming_value(value, programming, f"{where}: programming")
                if name == "programming"
                else _number(value, name, where)
                for name, value in fields.items()
            }
            try:
                found: Candidate = kind(**values)
                return found
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
    said = ", ".join(fields) or "nothing"
    raise ValueError(f"{where}: {said} is no candidate; give {FORMS}")


def _number(value: object, name: str, where: str) -> float | int:
    try:
        number = float(str(value))
    except ValueError:
        raise ValueError(f"{where}: {name} is {shown(value)}; give a number") from None
    if name == "energy_se":
        return number
    if number != np.floor(number) or not np.isfinite(number):
        raise ValueError(f"{where}: {name} is {shown(value)}; give a whole number")
    return int(number)


def parse_candidate(text: str, programming: Programming) -> Candidate:
    """A candidate from ``KEY=VALUE:KEY=VALUE``.

    Raises
    ------
    ValueError
        As :func:`candidate_of`, or not of this form.
    """
    fields: dict[str, object] = {}
    where = f"--candidate {text!r}"
    for part in text.split(":"):
        key, separator, value = part.partition("=")
        if not separator or not value:
            raise ValueError(f"{where}: {part!r} is not of the form KEY=VALUE; give {FORMS}")
        if key.strip() in fields:
            raise ValueError(f"{where}: {key.strip()} is given twice")
        fields[key.strip()] = value
    return candidate_of(fields, programming, where)


def read_candidates(path: Path, programming: Programming) -> list[Candidate]:
    """Candidates of a file: TOML tables ``[[candidate]]``, or CSV with :data:`KEYS` as columns.

    Raises
    ------
    ValueError
        As :func:`candidate_of` with the place in the file; another kind of file; no candidate.
    """
    if path.suffix not in (".toml", ".csv"):
        raise ValueError(f"{path}: candidates are in a .toml or a .csv file")
    with reading(path, "file of candidates", f"give {FORMS}"):
        rows = _toml_rows(path) if path.suffix == ".toml" else _csv_rows(path)
        if not rows:
            raise ValueError(f"{path}: no candidate in it; give {FORMS}")
        return [candidate_of(fields, programming, where) for where, fields in rows]


Rows = list[tuple[str, Mapping[str, object]]]
"""Where each candidate stands, and its values."""


def _toml_rows(path: Path) -> Rows:
    found, _ = read_toml(path)
    unknown = [key for key in found if key != "candidate"]
    if unknown:
        raise ValueError(f"{path}: {', '.join(unknown)} not known; known: tables [[candidate]]")
    tables = found.get("candidate", [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ValueError(f"{path}: write each candidate as a table [[candidate]]")
    return [(f"{path}, candidate {i + 1}", table) for i, table in enumerate(tables)]


def _csv_rows(path: Path) -> Rows:
    rows: Rows = []
    for i, row in enumerate(csv.DictReader(read_text(path).splitlines())):
        where = f"{path}, line {i + 2}"
        if None in row:
            raise ValueError(f"{where}: more values than columns")
        rows.append((where, {key.strip(): v for key, v in row.items() if v and v.strip()}))
    return rows
