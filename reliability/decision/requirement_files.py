"""Requirements as an engineer writes them down: one small TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from devicefit.inputs.quantities import NotAQuantity, parse_quantity
from devicefit.numerics.stored import plain_number, read_toml, reading, shown
from reliability.decision.requirement import Life, Requirement, StatedReference, Utility

KELVIN = 273.15
KEYS: dict[str, tuple[str, ...]] = {
    "accuracy": ("max_loss", "max_loss_points", "risk", "probability"),
    "life": ("years", "temperature_c", "temperature_k", "cycles"),
    "reference": ("memory_ber", "programming", "cells_per_bit"),
    "utility": ("energy_factor_per_point", "energy_factor_of_violation"),
}
"""Sections of a requirement file and what may stand in each."""


class RequirementFileError(ValueError):
    """A requirement file that cannot be used, with line, section and remedy."""


def read_requirement(path: Path | str, default: Requirement | None = None) -> Requirement:
    """Read a requirement file.

    Parameters
    ----------
    path : path
        TOML file, see ``docs/requirements.md``.
    default : Requirement, optional
        What holds where the file says nothing.

    Returns
    -------
    Requirement

    Raises
    ------
    RequirementFileError
        The file cannot be read, a section or key is unknown, one thing is stated in two ways, or a
        value cannot be used; says the line and the section.
    """
    path = Path(path)
    see = "see docs/requirements.md"
    with reading(path, "TOML file of a requirement", see, refuse=RequirementFileError):
        return _read(path, Requirement() if default is None else default)


def _read(path: Path, default: Requirement) -> Requirement:
    tables, text = read_toml(path)
    file = _File(path, text)
    for section, table in tables.items():
        if section not in KEYS:
            raise RequirementFileError(
                f"{file.at(section)}: {section} is not a known section; known: "
                f"{', '.join(f'[{name}]' for name in KEYS)}"
            )
        if not isinstance(table, Mapping):
            raise RequirementFileError(
                f"{file.at(section)}: {section} is a section; write [{section}] on its own line"
            )
        for key in table:
            if key not in KEYS[section]:
                raise RequirementFileError(
                    f"{file.at(section, key)}: {key} is not known; known: "
                    f"{', '.join(KEYS[section])}"
                )
    known = {section: tables.get(section, {}) for section in KEYS}
    found = file.made("accuracy", partial(replace, default), _accuracy(file, known["accuracy"]))
    if "memory_ber" in known["reference"]:
        ber = file.number("reference", "memory_ber", known["reference"]["memory_ber"])
        found = file.made("reference", partial(replace, found), {"memory_ber": ber})
    if known["life"]:
        found = replace(found, life=file.made("life", Life, _life(file, known["life"])))
    if set(known["reference"]) - {"memory_ber"}:
        values = _reference(file, known["reference"])
        found = replace(found, reference=file.made("reference", StatedReference, values))
    if known["utility"]:
        values = {k: file.number("utility", k, v) for k, v in known["utility"].items()}
        found = replace(found, utility=file.made("utility", Utility, values))
    return found


class _File:
    """Path and text, for messages that say the line."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, text.splitlines()

    def at(self, section: str, key: str | None = None) -> str:
        """``"need.toml, line 3, [life] years"``; without the line where it cannot be told."""
        name = f"[{section}]" if key is None else f"[{section}] {key}"
        inside = False
        for number, line in enumerate(self.lines, start=1):
            bare = line.split("#")[0].strip()
            if bare.startswith("["):
                inside = bare.strip("[] ") == section
                if inside and key is None:
                    return f"{self.path}, line {number}, {name}"
            elif key is not None and bare.split("=")[0].strip() == (
                key if inside else f"{section}.{key}"
            ):
                return f"{self.path}, line {number}, {name}"
            elif key is None and bare.split("=")[0].split(".")[0].strip() == section:
                return f"{self.path}, line {number}"
        return f"{self.path}, {name}"

    def number(self, section: str, key: str, value: Any) -> float:
        """A finite number."""
        number = plain_number(value)
        if number is None:
            raise RequirementFileError(
                f"{self.at(section, key)}: {shown(value)} is not a finite number"
            )
        return number

    def made(self, section: str, make: Any, values: Mapping[str, Any]) -> Any:
        """The object of these values; what it refuses is told with the line."""
        try:
            return make(**values)
        except ValueError as error:
            key = str(error).split(" ")[0]
            where = self.at(section, key if key in KEYS[section] else None)
            raise RequirementFileError(f"{where}: {error}") from None


def _one_of(file: _File, section: str, table: Mapping[str, Any], first: str, second: str) -> None:
    if first in table and second in table:
        raise RequirementFileError(
            f"{file.at(section, second)}: {first} and {second} state the same thing; keep one"
        )


def _accuracy(file: _File, table: Mapping[str, Any]) -> dict[str, float]:
    _one_of(file, "accuracy", table, "max_loss", "max_loss_points")
    _one_of(file, "accuracy", table, "risk", "probability")
    values = {key: file.number("accuracy", key, value) for key, value in table.items()}
    if "max_loss_points" in values:
        points = values.pop("max_loss_points")
        if not 0 < points < 100:
            raise RequirementFileError(
                f"{file.at('accuracy', 'max_loss_points')}: max_loss_points is {points:g}; give "
                "points of accuracy between 0 and 100"
            )
        values["max_loss"] = points / 100
    if "probability" in values:
        probability = values.pop("probability")
        if not 0.5 < probability < 1:
            raise RequirementFileError(
                f"{file.at('accuracy', 'probability')}: probability is {probability:g}; give the "
                "probability with which a chip meets the requirement, between 0.5 and 1"
            )
        # Rounded, so that 1 - 0.95 is the 0.05 of the command line.
        values["risk"] = round(1 - probability, 12)
    return values


def _life(file: _File, table: Mapping[str, Any]) -> dict[str, float]:
    _one_of(file, "life", table, "temperature_c", "temperature_k")
    values = {key: file.number("life", key, value) for key, value in table.items()}
    if "temperature_c" in values:
        celsius = values.pop("temperature_c")
        if not -73 <= celsius <= 426:
            raise RequirementFileError(
                f"{file.at('life', 'temperature_c')}: temperature_c is {celsius:g}; give a "
                "temperature between -73 and 426 degrees Celsius"
            )
        values["temperature_k"] = celsius + KELVIN
    return values


def _reference(file: _File, table: Mapping[str, Any]) -> dict[str, Any]:
    if "programming" not in table:
        raise RequirementFileError(
            f"{file.at('reference', 'cells_per_bit')}: cells_per_bit needs programming; write for "
            'example programming = "200 uA"'
        )
    where, value = file.at("reference", "programming"), table["programming"]
    try:
        number, unit = parse_quantity(value)
    except NotAQuantity:
        number, unit = 0.0, None
    except ValueError as error:
        raise RequirementFileError(f"{where}: {value!r}: {error}") from None
    if unit is None:
        raise RequirementFileError(
            f'{where}: {shown(value)} is not a value with its unit; write for example "200 uA"'
        )
    if unit not in ("A", "V", "s"):
        raise RequirementFileError(
            f"{where}: {value!r} is in {unit}; a programming value is a current (A), a voltage (V) "
            "or a time (s)"
        )
    values: dict[str, Any] = {"programming": number, "unit": unit}
    if "cells_per_bit" in table:
        values["cells_per_bit"] = file.number("reference", "cells_per_bit", table["cells_per_bit"])
    return values
