"""The frozen result that travels to the report and to its JSON twin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from devicefit.numerics.short_repr import short_repr
from devicefit.numerics.stored import (
    check_format,
    document_text,
    read_document,
    reading,
    shown,
    unsealed,
)
from reliability.files.whole_directory import check_whole

FORMAT = "rram-reliability results 3"

REQUIRED_KEYS = (
    "verdict",
    "programming",
    "data",
    "device",
    "ber",
    "networks",
    "accuracy",
    "tolerated_ber",
    "safe_programming",
    "energy_saving",
    "energy",
    "alternatives",
    "gates",
    "requirement",
    "provenance",
)

_BAND = ("mean", "median", "low", "high")
SHARES = (
    ("verdict", "p_requirement_met"),
    *(("ber", scheme, part) for scheme in ("1T1R", "2T2R") for part in ("mean", "median")),
    *(("ber", scheme, "interval", end) for scheme in ("1T1R", "2T2R") for end in ("low", "high")),
    ("networks", "*", "error_free_accuracy"),
    ("networks", "*", "ber"),
    ("networks", "*", "accuracy_mean_of_chips"),
    ("networks", "*", "accuracy_worst_chip"),
    ("networks", "*", "curve", "ber"),
    *(("networks", "*", "curve", "accuracy", part) for part in _BAND),
    ("accuracy", "*", "*", "error_free"),
    ("accuracy", "*", "*", "p_met"),
    *(("accuracy", "*", "*", of, part) for of in ("test_set", "population") for part in _BAND),
    *(("tolerated_ber", "*", part) for part in _BAND),
)
"""Where accuracies, rates and probabilities stand, all within 0..1; ``*`` is any name."""

WHOLE = (
    ("networks", "*", "images"),
    ("networks", "*", "weights"),
    ("networks", "*", "chips"),
    ("data", "devices"),
)
"""Where numbers of things stand, at least one of each."""

_ROUNDING = 1e-6


@short_repr
@dataclass(frozen=True)
class Results:
    """Everything a report shows, as plain values.

    Parameters
    ----------
    values : mapping
        Plain numbers, strings, lists and mappings, with at least :data:`REQUIRED_KEYS`.

    Raises
    ------
    ValueError
        A key is missing, a number is not finite (unknown values are None), or an accuracy, a rate
        or a probability does not lie within 0..1; says where.
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        missing = [key for key in REQUIRED_KEYS if key not in self.values]
        if missing:
            raise ValueError(f"results lack {', '.join(missing)}")
        _refuse_non_finite(self.values, "results")
        _refuse_impossible(self.values)
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    def to_json(self) -> str:
        """Text of the JSON twin; the same results give the same bytes."""
        return document_text({"format": FORMAT, **self.values})


def read_results(path: Path) -> Results:
    """Read results from their JSON twin.

    Raises
    ------
    ValueError
        The file is missing, not JSON, not results of this version, damaged, or holds what cannot
        be; says what is wrong and what to do.
    """
    check_whole(path.parent)
    with reading(path, "set of results", "write it with `rram-reliability run` or `decide`"):
        document = read_document(path)
        check_format(document.get("format"), FORMAT)
        values = unsealed(document)
        del values["format"]
        return Results(values)


def _refuse_impossible(values: Mapping[str, Any]) -> None:
    """Refuse accuracies above one and the like.

    Raises
    ------
    ValueError
        Says where, and the value.
    """
    for path in SHARES:
        for where, value in _numbers_at(values, path, "results"):
            if not -_ROUNDING <= value <= 1 + _ROUNDING:
                raise ValueError(f"{where} is {value}; it must lie within 0..1")
    for path in WHOLE:
        for where, value in _numbers_at(values, path, "results"):
            if value < 1 or value != int(value):
                raise ValueError(f"{where} is {value}; it must be a whole number from 1 on")


def _numbers_at(value: Any, path: tuple[str, ...], where: str) -> Iterator[tuple[str, float | int]]:
    """Numbers at a path, those of lists one by one; nothing where a name is missing."""
    if path:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {shown(value)}; it must be a mapping")
        first, *rest = path
        for name in value if first == "*" else [first] if first in value else []:
            yield from _numbers_at(value[name], tuple(rest), f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _numbers_at(item, (), f"{where}[{i}]")
    elif isinstance(value, int | float):
        yield where, value
    elif value is not None:
        raise ValueError(f"{where} is {shown(value)}; it must be a number")


def _refuse_non_finite(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_non_finite(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _refuse_non_finite(item, f"{where}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; write None where a value is unknown")
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{where} is a {type(value).__name__}; results hold plain values only")
