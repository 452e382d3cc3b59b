"""Errors as an engineer states them: a TOML file with one table for each case."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn.errors.array_mapping import ArrayShape
from bnn.errors.errors import Errors, Flips, LineFaults, StuckAt, TransientFlips
from bnn.machine.stored import plain_number, read_toml, reading, shown

OPPOSITE = "opposite"
"""What a cell on a faulty line reads where it is not stuck at a value."""

_TOP = ("protected", "case")
_CASE = ("name", "lines", "stuck_at", "flips", "misread", "protected")
_FLIPS = ("ber", "zero_to_one", "one_to_zero", "layers")
_STUCK = ("zero", "one", "exact", "layers")
_LINES = ("along", "rate", "density", "stuck", "array", "block", "layers")
_MISREAD = ("ber", "layers")


class ErrorFileError(ValueError):
    """A file of errors that cannot be used, with the table and the remedy."""


@dataclass(frozen=True)
class ErrorCases:
    """What a file of errors says.

    Attributes
    ----------
    path : str
        Where it was read.
    names : tuple of str
        Names of the cases, all different.
    errors : tuple of Errors
        The cases, in the order of the file.
    """

    path: str
    names: tuple[str, ...]
    errors: tuple[Errors, ...]


def read_error_cases(path: Path | str) -> ErrorCases:
    """Read a file of errors.

    Parameters
    ----------
    path : path
        TOML file, see ``docs/errors.md``. Persistent errors of a case are taken in the order
        faulty lines, stuck cells, flips, however they are written.

    Returns
    -------
    ErrorCases

    Raises
    ------
    ErrorFileError
        The file cannot be read, holds no case, a table or key is unknown or missing, a value has
        the wrong kind or range, or two cases have one name.
    """
    path = Path(path)
    with reading(path, "TOML file of errors", "see docs/errors.md", refuse=ErrorFileError):
        return _read(path)


def _read(path: Path) -> ErrorCases:
    tables, _ = read_toml(path)
    _refuse_unknown(f"{path}", tables, _TOP)
    cases = tables.get("case")
    if not isinstance(cases, list) or not cases or not all(isinstance(c, dict) for c in cases):
        raise ErrorFileError(f"{path}: there is no case; write a table [[case]] for each")
    shared = _names(f"{path}: protected", tables.get("protected", []))
    names, errors = [], []
    for number, table in enumerate(cases, start=1):
        name = table.get("name", f"case {number}")
        if not isinstance(name, str) or not name:
            raise ErrorFileError(f"{path}: name of case {number} is {shown(name)}; give a text")
        if name in names:
            raise ErrorFileError(
                f"{path}: two cases have the name {shown(name)}; give each its own"
            )
        names.append(name)
        errors.append(_case(f"{path}: case {shown(name)}", table, shared))
    return ErrorCases(str(path), tuple(names), tuple(errors))


def _case(where: str, table: Mapping[str, Any], shared: frozenset[str]) -> Errors:
    _refuse_unknown(where, table, _CASE)
    try:
        return Errors(
            persistent=(
                *(_lines(place, t) for place, t in _each(where, table, "lines")),
                *(_stuck(place, t) for place, t in _each(where, table, "stuck_at")),
                *(_flips(place, t) for place, t in _each(where, table, "flips")),
            ),
            transient=tuple(_misread(place, t) for place, t in _each(where, table, "misread")),
            protected=shared | _names(f"{where}: protected", table.get("protected", [])),
        )
    except ErrorFileError:
        raise
    except ValueError as error:
        raise ErrorFileError(f"{where}: {error}") from None


def _each(where: str, table: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Tables of one kind of errors: one, or one for each group of layers."""
    value = table.get(key, [])
    tables = value if isinstance(value, list) else [value]
    for one in tables:
        if not isinstance(one, dict):
            raise ErrorFileError(
                f"{where}: {key} is {shown(one)}; write a table, such as [[case.{key}]]"
            )
    return [(f"{where}: {key}", one) for one in tables]


def _flips(where: str, table: Mapping[str, Any]) -> Flips:
    _refuse_unknown(where, table, _FLIPS)
    layers = _layers(where, table)
    if "ber" in table:
        if "zero_to_one" in table or "one_to_zero" in table:
            raise ErrorFileError(
                f"{where}: ber is the rate of zeros and of ones; leave it out, or the other two"
            )
        return _made(where, Flips.symmetric, _number(where, table, "ber"), layers)
    rates = (_number(where, table, key) for key in ("zero_to_one", "one_to_zero"))
    return _made(where, Flips, *rates, layers)


def _stuck(where: str, table: Mapping[str, Any]) -> StuckAt:
    _refuse_unknown(where, table, _STUCK)
    exact = table.get("exact", False)
    if not isinstance(exact, bool):
        raise ErrorFileError(f"{where}: exact is {shown(exact)}; write true or false")
    shares = (_number(where, table, key) for key in ("zero", "one"))
    return _made(where, StuckAt, *shares, _layers(where, table), exact)


def _lines(where: str, table: Mapping[str, Any]) -> LineFaults:
    _refuse_unknown(where, table, _LINES)
    stuck = table.get("stuck", OPPOSITE)
    if stuck != OPPOSITE and (isinstance(stuck, bool) or stuck not in (0, 1)):
        raise ErrorFileError(f'{where}: stuck is {shown(stuck)}; write 0, 1 or "{OPPOSITE}"')
    options: dict[str, Any] = {
        key: _shape(where, key, table[key]) for key in ("array", "block") if key in table
    }
    if "density" in table:
        options["density"] = _number(where, table, "density")
    return _made(
        where,
        LineFaults,
        table.get("along"),
        _number(where, table, "rate"),
        stuck=None if stuck == OPPOSITE else stuck,
        layers=_layers(where, table),
        **options,
    )


def _misread(where: str, table: Mapping[str, Any]) -> TransientFlips:
    _refuse_unknown(where, table, _MISREAD)
    return _made(where, TransientFlips, _number(where, table, "ber"), _layers(where, table))


def _made(where: str, kind: Any, *values: Any, **options: Any) -> Any:
    """An error, with the place in what is wrong with it."""
    try:
        return kind(*values, **options)
    except ValueError as error:
        raise ErrorFileError(f"{where}: {error}") from None


def _number(where: str, table: Mapping[str, Any], key: str) -> float:
    if key not in table:
        raise ErrorFileError(f"{where}: {key} is missing; give a fraction, such as {key} = 1e-3")
    number = plain_number(table[key])
    # checked here, where the key is the one that the user wrote
    if number is None or not 0 <= number <= 1:
        raise ErrorFileError(
            f"{where}: {key} is {shown(table[key])}; give a fraction between 0 and 1, such as 1e-3"
        )
    return number


def _shape(where: str, key: str, value: Any) -> ArrayShape:
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int for n in value):
        raise ErrorFileError(
            f"{where}: {key} is {shown(value)}; give word lines and bit lines, such as [1024, 1024]"
        )
    return _made(f"{where}: {key}", ArrayShape, *value)


def _layers(where: str, table: Mapping[str, Any]) -> frozenset[str] | None:
    if "layers" not in table:
        return None
    found = _names(f"{where}: layers", table["layers"])
    if not found:
        raise ErrorFileError(f"{where}: layers is empty; name layers, or leave it out for all")
    return found


def _names(where: str, value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ErrorFileError(f'{where} is {shown(value)}; give names of layers, such as ["output"]')
    return frozenset(value)


def _refuse_unknown(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ErrorFileError(f"{where}: {shown(key)} is not known; known: {', '.join(known)}")
