"""Candidates for the next measurement from texts and files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

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

KINDS = (MoreDevices, MoreCycles, MoreChips, MoreImages, MeasuredEnergy)
KEYS = tuple(dict.fromkeys(field.name for kind in KINDS for field in fields(kind)))
"""What a candidate can be described by: the fields of all kinds."""

FORMS = (
    "programming=VALUE:devices=N[:cycles=N], more_cycles=N, chips=N, images=N, or "
    "programming=VALUE:energy_se=FRACTION"
)


def candidate_of(said: Mapping[str, object], programming: Programming, where: str) -> Candidate:
    """A candidate from named values.

    Parameters
    ----------
    said : mapping
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
    unknown = [key for key in said if key not in KEYS]
    if unknown:
        raise ValueError(f"{where}: {', '.join(unknown)} not known; known: {', '.join(KEYS)}")
    for kind in KINDS:
        needed = {field.name for field in fields(kind) if field.default is MISSING}
        if not needed <= set(said) <= {field.name for field in fields(kind)}:
            continue
        values: dict[str, Any] = {
            name: programming_value(value, programming, f"{where}: programming")
            if name == "programming"
            else _number(value, name, where)
            for name, value in said.items()
        }
        try:
            return kind(**values)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    given = ", ".join(said) or "nothing"
    raise ValueError(f"{where}: {given} is no candidate; give {FORMS}")


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
    said: dict[str, object] = {}
    where = f"--candidate {text!r}"
    for part in text.split(":"):
        key, separator, value = part.partition("=")
        if not separator or not value:
            raise ValueError(f"{where}: {part!r} is not of the form KEY=VALUE; give {FORMS}")
        if key.strip() in said:
            raise ValueError(f"{where}: {key.strip()} is given twice")
        said[key.strip()] = value
    return candidate_of(said, programming, where)


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
        return [candidate_of(said, programming, where) for where, said in rows]


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
