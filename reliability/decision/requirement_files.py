"""Requirements as an engineer writes them down: one small TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from devicefit.inputs.quantities import NotAQuantity, parse_quantity
from devicefit.numerics.stored import plain_number, read_toml, reading, shown
from reliability.decision.requirement import Life, Requirement, StatedReference, Utility

KEYS: dict[str, tuple[str, ...]] = {
    "accuracy": ("max_loss", "max_loss_points", "risk", "probability"),
    "life": ("years", "temperature_c", "temperature_k", "cycles"),
    "reference": ("memory_ber", "programming", "cells_per_bit"),
    "utility": ("energy_factor_per_point", "energy_factor_of_violation"),
}
"""Sections of a requirement file and what may stand in each."""


@dataclass(frozen=True)
class _OtherScale:
    """A key that states what another one does, on a scale of its own.

    Parameters
    ----------
    key : str
        The other one.
    low, high : float
        What may be stated.
    convert : callable
        To the scale of the other key.
    give : str
        What to give, for messages.
    """

    key: str
    low: float
    high: float
    convert: Callable[[float], float]
    give: str


_OTHER_SCALES = {
    "max_loss_points": _OtherScale(
        "max_loss", 0, 100, lambda points: points / 100, "points of accuracy between 0 and 100"
    ),
    "probability": _OtherScale(
        "risk",
        0.5,
        1,
        # rounded, so that 1 - 0.95 is the 0.05 of the command line
        lambda probability: round(1 - probability, 12),
        "the probability with which a chip meets the requirement, between 0.5 and 1",
    ),
    "temperature_c": _OtherScale(
        "temperature_k",
        -73,
        426,
        lambda celsius: celsius + 273.15,
        "a temperature between -73 and 426 degrees Celsius",
    ),
}


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
            names = ", ".join(f"[{name}]" for name in KEYS)
            raise file.refusal(f"{section} is not a known section; known: {names}", section)
        if not isinstance(table, Mapping):
            text = f"{section} is a section; write [{section}] on its own line"
            raise file.refusal(text, section)
        for key in table:
            if key not in KEYS[section]:
                text = f"{key} is not known; known: {', '.join(KEYS[section])}"
                raise file.refusal(text, section, key)
    known = {section: tables.get(section, {}) for section in KEYS}
    accuracy = file.numbers("accuracy", known["accuracy"])
    found = file.made("accuracy", partial(replace, default), accuracy)
    of_reference = dict(known["reference"])
    if "memory_ber" in of_reference:
        ber = file.numbers("reference", {"memory_ber": of_reference.pop("memory_ber")})
        found = file.made("reference", partial(replace, found), ber)
    if of_reference:
        values = _reference(file, of_reference)
        found = replace(found, reference=file.made("reference", StatedReference, values))
    for section, kind in (("life", Life), ("utility", Utility)):
        if known[section]:
            numbers = file.numbers(section, known[section])
            found = replace(found, **{section: file.made(section, kind, numbers)})
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

    def refusal(self, text: str, section: str, key: str | None = None) -> RequirementFileError:
        """What is raised, with the place."""
        return RequirementFileError(f"{self.at(section, key)}: {text}")

    def numbers(self, section: str, table: Mapping[str, Any]) -> dict[str, float]:
        """Finite numbers of a section by the keys on whose scale they are kept."""
        found: dict[str, float] = {}
        for key, value in table.items():
            number = plain_number(value)
            if number is None:
                raise self.refusal(f"{shown(value)} is not a finite number", section, key)
            if key not in _OTHER_SCALES:
                found[key] = number
                continue
            other = _OTHER_SCALES[key]
            if other.key in table:
                later = max(key, other.key, key=list(table).index)
                text = f"{other.key} and {key} state the same thing; keep one"
                raise self.refusal(text, section, later)
            if not other.low <= number <= other.high:
                raise self.refusal(f"{key} is {number:g}; give {other.give}", section, key)
            found[other.key] = other.convert(number)
        return found

    def made(self, section: str, make: Any, values: Mapping[str, Any]) -> Any:
        """The object of these values; what it refuses is told with the line."""
        try:
            return make(**values)
        except ValueError as error:
            key = str(error).split(" ")[0]
            known = key if key in KEYS[section] else None
            raise self.refusal(str(error), section, known) from None


def _reference(file: _File, table: Mapping[str, Any]) -> dict[str, Any]:
    def refusal(text: str, key: str = "programming") -> RequirementFileError:
        return file.refusal(text, "reference", key)

    if "programming" not in table:
        text = 'cells_per_bit needs programming; write for example programming = "200 uA"'
        raise refusal(text, "cells_per_bit")
    value = table["programming"]
    try:
        number, unit = parse_quantity(value)
    except NotAQuantity:
        number, unit = 0.0, None
    except ValueError as error:
        raise refusal(f"{value!r}: {error}") from None
    if unit is None:
        raise refusal(f'{shown(value)} is not a value with its unit; write for example "200 uA"')
    if unit not in ("A", "V", "s"):
        raise refusal(
            f"{value!r} is in {unit}; a programming value is a current (A), a voltage (V) or a "
            "time (s)"
        )
    values: dict[str, Any] = {"programming": number, "unit": unit}
    if "cells_per_bit" in table:
        values |= file.numbers("reference", {"cells_per_bit": table["cells_per_bit"]})
    return values
