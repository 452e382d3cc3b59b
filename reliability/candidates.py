"""Measurements and computations that might be done next."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devicefit.programming import Programming, to_si
from reliability.designs import Comparison, limit_condition
from reliability.device_study import DeviceStudy

KEYS = ("programming", "devices", "cycles", "more_cycles", "chips", "images", "energy_se")
"""What a candidate can be described by."""

FORMS = (
    "programming=VALUE:devices=N[:cycles=N], more_cycles=N, chips=N, images=N, or "
    "programming=VALUE:energy_se=FRACTION"
)
_BESIDE = 0.1
_NUMBER = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z]*)\s*")


def _at_least(name: str, value: float, least: float) -> None:
    if not least <= value < np.inf:
        raise ValueError(f"{name} is {value}; it must be at least {least:g}")


@dataclass(frozen=True)
class MoreDevices:
    """Devices that were not measured before, at a measured or a new condition.

    Parameters
    ----------
    programming : float
        Programming value, SI.
    devices : int
        New devices, 0 for none.
    cycles : int
        Readings of each in either state.
    """

    programming: float
    devices: int
    cycles: int = 1

    def __post_init__(self) -> None:
        _at_least("devices", self.devices, 0)
        _at_least("cycles", self.cycles, 1)

    def words(self, programming: Programming) -> str:
        """What is done."""
        times = "" if self.cycles == 1 else f", {self.cycles} cycles each"
        return f"{self.devices} more devices at {programming.format(self.programming)}{times}"


@dataclass(frozen=True)
class MoreCycles:
    """Further cycles of all devices that were measured.

    Parameters
    ----------
    more_cycles : int
        Further readings of each device in either state.
    """

    more_cycles: int

    def __post_init__(self) -> None:
        _at_least("more_cycles", self.more_cycles, 0)

    def words(self, programming: Programming) -> str:
        """What is done."""
        return f"{self.more_cycles} more cycles of every measured device"


@dataclass(frozen=True)
class MoreChips:
    """Further simulated chips of every network.

    Parameters
    ----------
    chips : int
        Further chips for each BER.
    """

    chips: int

    def __post_init__(self) -> None:
        _at_least("chips", self.chips, 0)

    def words(self, programming: Programming) -> str:
        """What is done."""
        return f"{self.chips} more simulated chips of each network"


@dataclass(frozen=True)
class MoreImages:
    """Further test images.

    Parameters
    ----------
    images : int
        Further images.
    """

    images: int

    def __post_init__(self) -> None:
        _at_least("images", self.images, 0)

    def words(self, programming: Programming) -> str:
        """What is done."""
        return f"{self.images} more test images"


@dataclass(frozen=True)
class MeasuredEnergy:
    """Programming energy of a cell measured at one condition.

    Parameters
    ----------
    programming : float
        Programming value, SI.
    energy_se : float
        Standard error of the energy, relative.
    """

    programming: float
    energy_se: float

    def __post_init__(self) -> None:
        if not 0 < self.energy_se < 10:
            raise ValueError(
                f"energy_se is {self.energy_se}; give a relative standard error, 0.05 for 5 %"
            )

    def words(self, programming: Programming) -> str:
        """What is done."""
        return (
            f"energy measured at {programming.format(self.programming)} "
            f"to {100 * self.energy_se:g} %"
        )


Candidate = MoreDevices | MoreCycles | MoreChips | MoreImages | MeasuredEnergy
_KINDS: tuple[tuple[frozenset[str], frozenset[str], type], ...] = (
    (frozenset({"programming", "devices"}), frozenset({"cycles"}), MoreDevices),
    (frozenset({"more_cycles"}), frozenset(), MoreCycles),
    (frozenset({"chips"}), frozenset(), MoreChips),
    (frozenset({"images"}), frozenset(), MoreImages),
    (frozenset({"programming", "energy_se"}), frozenset(), MeasuredEnergy),
)


def candidate_record(candidate: Candidate) -> dict[str, Any]:
    """Plain values for JSON."""
    return asdict(candidate)


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
                name: _programming(value, programming, where)
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
        raise ValueError(f"{where}: {name} is {value!r}; give a number") from None
    if name == "energy_se":
        return number
    if number != np.floor(number) or not np.isfinite(number):
        raise ValueError(f"{where}: {name} is {value}; give a whole number")
    return int(number)


def _programming(value: object, programming: Programming, where: str) -> float:
    found = _NUMBER.fullmatch(str(value))
    try:
        if found is None:
            raise ValueError
        number = float(found[1])
    except ValueError:
        raise ValueError(
            f"{where}: programming is {value!r}; give a number in {programming.unit}, or with its "
            "unit"
        ) from None
    if found[2]:
        try:
            unit, factor = to_si(found[2])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if unit != programming.unit:
            raise ValueError(
                f"{where}: programming is {value}; the {programming.name} is in {programming.unit}"
            )
        number *= factor
    if not np.isfinite(number) or (programming.is_logarithmic and number <= 0):
        raise ValueError(f"{where}: programming is {value}; it must be positive and finite")
    return number


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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if path.suffix == ".toml":
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from None
        unknown = [key for key in found if key != "candidate"]
        if unknown:
            raise ValueError(f"{path}: {', '.join(unknown)} not known; known: tables [[candidate]]")
        tables = found.get("candidate", [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            raise ValueError(f"{path}: write each candidate as a table [[candidate]]")
        rows = [(f"{path}, candidate {i + 1}", table) for i, table in enumerate(tables)]
    else:
        rows = []
        for i, row in enumerate(csv.DictReader(text.splitlines())):
            where = f"{path}, line {i + 2}"
            if None in row:
                raise ValueError(f"{where}: more values than columns")
            rows.append((where, {key.strip(): v for key, v in row.items() if v and v.strip()}))
    if not rows:
        raise ValueError(f"{path}: no candidate in it; give {FORMS}")
    return [candidate_of(fields, programming, where) for where, fields in rows]


def default_candidates(comparison: Comparison, study: DeviceStudy) -> list[Candidate]:
    """A list to begin with: as many devices as a condition has, at several places, and the rest.

    Devices at the limits of the design and of the standard network (ten times as many, too), at
    both ends of the measured range and a tenth of it beyond either end; more cycles; four times
    the chips and images; an energy measured at both limits.
    """
    c, data = comparison, study.record["data"]
    frame = study.main.frame
    devices = max(10, _two_digits(data["devices"] / max(data["conditions"], 1)))
    cycles = max(1, round(readings_per_device(study)))
    low, high = c.programming.coordinate([frame.low, frame.high])
    limits = [
        float(np.median(c.programming.coordinate(x)))
        for x in (limit_condition(c, c.focus).x, c.references[0].condition.x)
    ]
    if abs(limits[1] - limits[0]) < 0.05 * (high - low):
        limits = limits[:1]
    places: list[float] = []
    beyond = _BESIDE * (high - low)
    for u in (*limits, low, high, low - beyond, high + beyond):
        if all(abs(u - v) > 0.02 * (high - low) for v in places):
            places.append(u)
    ends = {low: frame.low, high: frame.high}
    values = [ends.get(u, float(f"{c.programming.from_coordinate(u):.3g}")) for u in places]
    found: list[Candidate] = [
        MoreDevices(x, n, cycles)
        for x, at_limit in zip(values, [u in limits for u in places], strict=True)
        for n in ((devices, 10 * devices) if at_limit else (devices,))
    ]
    if cycles > 1:
        found.append(MoreCycles(cycles))
    found += [MoreChips(3 * c.standard.chips), MoreImages(3 * c.standard.images)]
    return found + [MeasuredEnergy(x, 0.05) for x in values[: len(limits)]]


def readings_per_device(study: DeviceStudy) -> float:
    """Mean number of readings of a device in one state."""
    record = study.main.record
    return float(np.mean(list(record["readings"].values())) / max(record["devices"], 1))


def _two_digits(value: float) -> int:
    return int(float(f"{value:.2g}"))
