"""The frozen result that travels to the report and to its JSON twin."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reliability.whole_directory import check_whole

FORMAT = "rram-reliability results 1"

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
        A key is missing or a number is not finite (unknown values are None).
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        missing = [key for key in REQUIRED_KEYS if key not in self.values]
        if missing:
            raise ValueError(f"results lack {', '.join(missing)}")
        _refuse_non_finite(self.values, "results")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    def to_json(self) -> str:
        """Text of the JSON twin; the same results give the same bytes."""
        head = {"format": FORMAT, **self.values}
        return json.dumps(head, indent=1, sort_keys=False, allow_nan=False) + "\n"


def read_results(path: Path) -> Results:
    """Read results from their JSON twin.

    Raises
    ------
    ValueError
        The file is missing, not JSON, or not results of this version.
    """
    check_whole(path.parent)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file; write it with `rram-reliability run` or `decide`"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: not results of this version ({FORMAT!r})")
    return Results(values)


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
