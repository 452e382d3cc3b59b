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


def saving_middle(record: Mapping[str, Any] | None) -> str:
    """Median of a saving, or its bound: ``"14.0"``, ``"at least 3.10"``."""
    if record is None:
        return NONE
    bound = record.get("bound")
    if bound is not None:
        return f"{bound['side']} {estimate(bound['value'])}"
    return NONE if record["median"] is None else estimate(record["median"])


def saving(record: Mapping[str, Any] | None) -> str:
    """Median and interval of a saving, or its bound with the probability of it."""
    middle = saving_middle(record)
    if record is None or middle == NONE:
        return NONE
    bound = record.get("bound")
    if bound is not None:
        return f"{middle} (probability {number(bound['probability'])})"
    low, high = (estimate(record[end]) for end in ("low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"
