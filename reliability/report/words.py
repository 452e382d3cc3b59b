"""Numbers in the words of the report: two or three digits, units with prefixes, no ``None``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NONE = "none"
PREFIXES = (
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("", 1.0),
    ("m", 1e-3),
    ("u", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
    ("f", 1e-15),
)


def number(x: float | None, digits: int = 3) -> str:
    """Value to `digits` significant digits: ``"0.031"``, ``"4.2e-5"``, ``"84,480"``."""
    if x is None:
        return NONE
    if isinstance(x, int):
        return f"{x:,}"
    text = f"{x:.{digits}g}"
    if "e" not in text:
        return text
    if 1 <= abs(x) < 1e6:
        return f"{float(text):,.0f}"
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def estimate(x: float | None, digits: int = 3) -> str:
    """Value known to `digits` digits, zeros at the end included: ``"1.10"``, ``"14.0"``."""
    if x is None:
        return NONE
    if not 1e-3 <= abs(x) < 10.0**digits:
        return number(x, digits)
    return f"{x:#.{digits}g}".rstrip(".")


def rate(x: float | None, digits: int = 2) -> str:
    """Bit error rate, in powers of ten below 1 %: ``"0.031"``, ``"1e-3"``."""
    if x is None or x == 0 or x >= 0.01:
        return number(x, digits)
    mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def estimated_rate(x: float | None) -> str:
    """Bit error rate with two digits, a zero at the end included: ``"0.030"``."""
    if x is None or x == 0:
        return rate(x)
    if x >= 0.01:
        return estimate(x, 2) if x < 0.1 else f"{x:.2f}"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def plain(x: float) -> str:
    """Value with two decimals, for parameters on log scales."""
    return f"{x:z.2f}"


def share(x: float | None) -> str:
    """Share as percent; a small one does not become zero."""
    return "below 0.1 %" if x is not None and 0 < x < 0.0005 else percent(x)


def percent(fraction: float | None) -> str:
    """Fraction as percent with one decimal: ``"97.2 %"``."""
    return NONE if fraction is None else f"{100 * fraction:.1f} %"


def points(fraction: float | None, digits: int = 3) -> str:
    """Difference of two accuracies in percentage points: ``"1 point"``, ``"0.3 points"``."""
    if fraction is None:
        return NONE
    text = f"{100 * fraction:.{digits}g}"
    return f"{text} point" if text == "1" else f"{text} points"


def probability(p: float | None) -> str:
    """Probability with three decimals; never rounded up to a certainty."""
    if p is None:
        return NONE
    if p < 1 and round(p, 3) == 1:
        return "above 0.999"
    if p > 0 and round(p, 3) == 0:
        return "below 0.001"
    return f"{p:.3f}"


def prefix_for(x: float) -> tuple[str, float]:
    """Prefix that leaves one to three digits before the point, and its factor."""
    for prefix, factor in PREFIXES:
        if abs(x) >= factor * (1 - 1e-12):
            return prefix, factor
    return PREFIXES[-1] if x else ("", 1.0)


def quantity(x: float | None, unit: str) -> str:
    """Value with a prefixed unit: ``"8.39 pJ"``."""
    if x is None:
        return NONE
    prefix, factor = prefix_for(x)
    return f"{number(x / factor)} {prefix}{unit}"


def interval_name(record: Mapping[str, Any]) -> str:
    """Kind and probability of an interval: ``"90 % ETI"``."""
    return f"{100 * record['probability']:g} % {record['kind']}"


def with_interval(record: Mapping[str, Any], form: Callable[[float], str]) -> str:
    """Median and interval: ``"8.39 (7.55 to 9.36)"``."""
    if record["median"] is None:
        return NONE
    return f"{form(record['median'])} ({form(record['low'])} to {form(record['high'])})"


def energy(record: Mapping[str, Any] | None) -> str:
    """Median and interval of an energy, in the prefix of the median."""
    if record is None or record["median"] is None:
        return NONE
    prefix, factor = prefix_for(record["median"])
    low, median, high = (estimate(record[key] / factor) for key in ("low", "median", "high"))
    return f"{median} ({low} to {high}) {prefix}J"


def bounded(record: Mapping[str, Any], name: str) -> str:
    """An end or the median of a saving, with ``at least`` or ``at most`` where it is a bound."""
    lower = record.get(f"{name}_is_lower_bound", False)
    upper = record.get(f"{name}_is_upper_bound", False)
    word = "" if lower == upper else "at least " if lower else "at most "
    return f"{word}{estimate(record[name])}"


def _wholly_bounded(record: Mapping[str, Any]) -> str | None:
    """A saving of which only one side is known: ``"at least 15.0"``."""
    if record.get("is_lower_bound"):
        return f"at least {estimate(record['median'])}"
    if record.get("low_is_lower_bound") and not record.get("low_is_upper_bound"):
        return f"at least {estimate(record['low'])}"
    if record.get("high_is_upper_bound") and not record.get("high_is_lower_bound"):
        return f"at most {estimate(record['high'])}"
    return None


def saving_middle(record: Mapping[str, Any] | None) -> str:
    """Median of a saving, a bound where it is only known from one side."""
    if record is None or record["median"] is None:
        return NONE
    return _wholly_bounded(record) or bounded(record, "median")


def saving(record: Mapping[str, Any] | None) -> str:
    """Median and interval of a saving, bounds named; a fixed ratio has no interval."""
    if record is None or record["median"] is None:
        return NONE
    middle = saving_middle(record)
    if _wholly_bounded(record) or "low" not in record:
        return middle
    low, high = bounded(record, "low"), bounded(record, "high")
    return middle if low == high else f"{middle} ({low} to {high})"
