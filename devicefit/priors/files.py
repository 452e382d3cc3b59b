"""Priors as an engineer states them: a TOML file with resistances and probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devicefit.families.prior_tables import spread_between_arrays
from devicefit.inputs.programming import Programming
from devicefit.inputs.quantities import NotAQuantity, parse_quantity
from devicefit.numerics.stored import plain_number, read_toml, reading, shown
from devicefit.priors.elicitation import LARGEST_PROBABILITY, LEAST_PROBABILITY, normal_between
from devicefit.priors.statements import QUANTITIES, Statement
from devicefit.sampling.prior import LN10, Prior

PROBABILITY = 0.9
"""Probability of ``between`` where a table does not give its own."""


class PriorFileError(ValueError):
    """A prior file that cannot be used, with the table and the remedy."""


_KEYS = ("between", "probability", "at", "source")
_PARAMETER_KEYS = ("mean", "sd", "between", "probability", "source")


@dataclass(frozen=True)
class Entry:
    """One table of a prior file.

    Parameters
    ----------
    name : str
        Key of `QUANTITIES`, or ``parameter.NAME``.
    mean, sd : float
        Normal law on the scale of the model: ln ohm, ln, log10 odds or the parameter's own.
    source : str
        Where the numbers come from.
    at : float or None
        Programming value, SI, for which the quantity is stated.
    unit : str or None
        SI unit of `at`; ``"1"`` for a plain number.
    """

    name: str
    mean: float
    sd: float
    source: str
    at: float | None = None
    unit: str | None = None

    @property
    def is_expert(self) -> bool:
        """Whether a parameter is named, not a quantity."""
        return self.name not in QUANTITIES

    @property
    def parameter(self) -> str | None:
        """Parameter whose prior is replaced; None when the entry becomes a statement."""
        if self.at is not None:
            return None
        if self.is_expert:
            return self.name.removeprefix("parameter.")
        return QUANTITIES[self.name].parameter


@dataclass(frozen=True)
class PriorFile:
    """What a prior file says.

    Parameters
    ----------
    path : str
        Where it was read.
    entries : tuple of Entry
        In the order of the file.
    """

    path: str
    entries: tuple[Entry, ...]


def read_priors(path: Path | str) -> PriorFile:
    """Read a prior file.

    Parameters
    ----------
    path : path
        TOML file, see ``docs/priors.md``.

    Returns
    -------
    PriorFile

    Raises
    ------
    PriorFileError
        The file cannot be read, or a table or key is unknown, a unit is unknown or missing,
        bounds are out of order, a probability is not one, or one thing is stated in two ways.
    """
    path = Path(path)
    with reading(path, "TOML file of priors", "see docs/priors.md", refuse=PriorFileError):
        return _read(path)


def _read(path: Path) -> PriorFile:
    tables, _ = read_toml(path)
    entries = []
    for name, table in tables.items():
        if name == "parameter":
            if not isinstance(table, dict) or not all(isinstance(t, dict) for t in table.values()):
                raise PriorFileError(
                    f"{path}: write a table for each parameter, for example [parameter.exponent]"
                )
            for own, inner in table.items():
                entries.append(_parameter_entry(f"{path}: [parameter.{own}]", own, inner))
            continue
        if name not in QUANTITIES:
            raise PriorFileError(
                f"{path}: [{name}] is not known; use one of "
                f"{', '.join(f'[{q}]' for q in QUANTITIES)} or [parameter.NAME]"
            )
        # [[name]] states one quantity at several programming values.
        for one in table if isinstance(table, list) else [table]:
            entries.append(_quantity_entry(f"{path}: [{name}]", name, one))
    found = PriorFile(str(path), tuple(entries))
    _refuse_two_ways(found)
    return found


def _quantity_entry(where: str, name: str, table: Any) -> Entry:
    if not isinstance(table, dict):
        raise PriorFileError(f'{where} is not a table; write [{name}] and below it between = ["..')
    _refuse_unknown_keys(where, table, _KEYS)
    quantity = QUANTITIES[name]
    if "between" not in table:
        example = '["2 kohm", "8 kohm"]' if quantity.kind == "resistance" else "[0.3, 0.7]"
        raise PriorFileError(f"{where}: between is missing; write for example between = {example}")
    low, high = (
        _on_scale(f"{where} between", b, quantity.kind) for b in _bounds(where, table["between"])
    )
    mean, sd = _normal(where, low, high, _probability(where, table))
    at, unit = None, None
    if "at" in table:
        if quantity.core is None:
            raise PriorFileError(
                f"{where}: {name} is one number for all programming values; leave out at"
            )
        at, unit = _programming_value(f"{where} at", table["at"])
    return Entry(name, mean, sd, _source(where, table), at, unit)


def _parameter_entry(where: str, name: str, table: Mapping[str, Any]) -> Entry:
    _refuse_unknown_keys(where, table, _PARAMETER_KEYS)
    direct = "mean" in table or "sd" in table
    if direct and ("between" in table or "probability" in table):
        raise PriorFileError(f"{where}: give mean and sd, or between, not both")
    if "between" in table:
        low, high = (_number(f"{where} between", b) for b in _bounds(where, table["between"]))
        mean, sd = _normal(where, low, high, _probability(where, table))
    elif "mean" in table and "sd" in table:
        mean, sd = (_number(f"{where} {key}", table[key]) for key in ("mean", "sd"))
        if not sd > 0:
            raise PriorFileError(f"{where}: sd is {sd}; it must be positive")
    else:
        raise PriorFileError(f"{where}: give mean and sd, or between, on the parameter's own scale")
    return Entry(f"parameter.{name}", mean, sd, _source(where, table))


def _refuse_unknown_keys(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise PriorFileError(f"{where}: {key} is not known; known: {', '.join(known)}")


def _bounds(where: str, between: Any) -> list[Any]:
    if not isinstance(between, list) or len(between) != 2:
        raise PriorFileError(
            f"{where}: between is {shown(between)}; give two bounds, [lower, upper]"
        )
    return between


def _number(where: str, value: Any) -> float:
    number = plain_number(value)
    if number is None:
        raise PriorFileError(f"{where}: {shown(value)} is not a finite number")
    return number


def _with_unit(where: str, value: Any, example: str) -> tuple[float, str]:
    """Value in SI and its SI unit from a text such as ``"50 kohm"``."""
    try:
        number, unit = parse_quantity(value)
    except NotAQuantity:
        number, unit = 0.0, None
    except ValueError as error:
        raise PriorFileError(f"{where}: {shown(value)}: {error}") from None
    if unit is None:
        raise PriorFileError(
            f'{where}: {shown(value)} is not a number with its unit; write for example "{example}"'
        )
    return number, unit


def _programming_value(where: str, value: Any) -> tuple[float, str]:
    if isinstance(value, int | float):
        return _number(where, value), "1"
    return _with_unit(where, value, "100 uA")


def _on_scale(where: str, value: Any, kind: str) -> float:
    """A bound on the scale on which its prior is normal."""
    if kind == "resistance":
        number, unit = _with_unit(where, value, "50 kohm")
        if unit != "ohm":
            raise PriorFileError(
                f"{where}: {shown(value)} is not a resistance; use ohm, kohm or Mohm"
            )
    else:
        number = _number(where, value)
    if kind == "probability":
        if not 0 < number < 1:
            raise PriorFileError(f"{where}: {number} is not a probability between 0 and 1")
        return (math.log(number) - math.log1p(-number)) / LN10
    if not number > 0:
        raise PriorFileError(f"{where}: {shown(value)} must be positive")
    return math.log(number)


def _probability(where: str, table: Mapping[str, Any]) -> float:
    value = _number(f"{where} probability", table.get("probability", PROBABILITY))
    if not LEAST_PROBABILITY <= value <= LARGEST_PROBABILITY:
        raise PriorFileError(
            f"{where}: probability is {value}; it must lie between {LEAST_PROBABILITY} and "
            f"{LARGEST_PROBABILITY}, for example {PROBABILITY}"
        )
    return value


def _source(where: str, table: Mapping[str, Any]) -> str:
    source = table.get("source", "")
    if not isinstance(source, str):
        raise PriorFileError(f"{where}: source is {shown(source)}; write a text")
    return source or "stated, no source given"


def _normal(where: str, low: float, high: float, probability: float) -> tuple[float, float]:
    if not low < high:
        raise PriorFileError(f"{where}: between must have the lower bound first and the upper last")
    return normal_between(low, high, probability)


def _refuse_two_ways(file: PriorFile) -> None:
    """One thing may be stated once: at one value, or as a parameter, by one of its names."""
    seen: dict[Any, Entry] = {}
    at_values = {e.name for e in file.entries if e.at is not None}
    for entry in file.entries:
        key = entry.parameter or (entry.name, entry.unit, entry.at)
        if key in seen:
            raise PriorFileError(
                f"{file.path}: [{seen[key].name}] and [{entry.name}] state the same thing; keep one"
            )
        if entry.at is None and entry.name in at_values:
            raise PriorFileError(
                f"{file.path}: [{entry.name}] is stated with and without at; keep one way"
            )
        seen[key] = entry


def apply(
    prior_file: PriorFile, priors: tuple[Prior, ...], *, programming: Programming
) -> tuple[tuple[Prior, ...], tuple[Statement, ...]]:
    """Put what a file says in the place of a family's own priors.

    Parameters
    ----------
    prior_file : PriorFile
        Output of :func:`read_priors`.
    priors : tuple of Prior
        Of one family.
    programming : Programming
        The programming variable, in whose unit ``at`` must be.

    Returns
    -------
    priors : tuple of Prior
        In the same order; those that the file states have its numbers and its source.
    statements : tuple of Statement
        For quantities stated at a programming value.

    Raises
    ------
    PriorFileError
        The family lacks a parameter, one is a shift of arrays, or ``at`` has another unit than the
        programming variable.
    """
    _, missing = without_missing(prior_file, priors)
    if missing:
        first = missing[0]
        what = f"{prior_file.path}: [{first.name}]"
        if not first.is_expert:
            quantity = QUANTITIES[first.name]
            at = " State it at a programming value (at = ...)." if quantity.core else ""
            what += f" sets {first.parameter}, and"
            raise PriorFileError(f"{what} this model has no such parameter.{at} {_known(priors)}")
        raise PriorFileError(f"{what}: this model has no such parameter. {_known(priors)}")
    stated = {e.parameter: e for e in prior_file.entries if e.parameter is not None}
    if shifts := [p.name for p in priors if p.dim == "array" and p.name in stated]:
        name, ln_sd = shifts[0], spread_between_arrays(shifts[0])
        raise PriorFileError(
            f"{prior_file.path}: [parameter.{name}] are shifts of arrays, whose spread is "
            f"inferred; state that instead, as [parameter.{ln_sd}]"
        )
    statements = []
    for e in prior_file.entries:
        if e.at is None:
            continue
        if e.unit != programming.unit:
            raise PriorFileError(
                f"{prior_file.path}: [{e.name}] is stated at a value in {e.unit}, but the "
                f"programming variable ({programming.name}) is in {programming.unit}"
            )
        if programming.is_logarithmic and not e.at > 0:
            raise PriorFileError(
                f"{prior_file.path}: [{e.name}] at is {e.at} {e.unit}; it must be positive"
            )
        statements.append(Statement(e.name, e.at, e.mean, e.sd, e.source))
    changed = tuple(
        replace(p, mean=s.mean, sd=s.sd, source=f"{s.source} ({Path(prior_file.path).name})")
        if (s := stated.get(p.name))
        else p
        for p in priors
    )
    return changed, tuple(statements)


def _known(priors: tuple[Prior, ...]) -> str:
    return f"Its parameters: {', '.join(p.name for p in priors)}"


def without_missing(
    prior_file: PriorFile, priors: tuple[Prior, ...]
) -> tuple[PriorFile, tuple[Entry, ...]]:
    """Split a file into what a family can use and the entries about parameters that it lacks.

    One file serves several families: a lognormal has no failed SETs. Whoever fits several refuses
    an entry that none of them can use.
    """
    names = {p.name for p in priors}
    missing = tuple(e for e in prior_file.entries if e.parameter not in {None, *names})
    kept = tuple(e for e in prior_file.entries if e not in missing)
    return replace(prior_file, entries=kept), missing
