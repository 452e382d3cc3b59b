"""Names of networks: what their records say about how they came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnn.calibration.treatments import FIXED
from reliability.networks.treatments import treatment_of

STANDARD = "standard"
TRAINED_FOR_ERRORS = "trained for errors"
TRAINED_FOR_RANGE = "trained for a range of errors"
MARGIN = "margin loss"
IMPORTED = "imported"

Record = Mapping[str, Any]


def training_of(record: Record) -> str:
    """How the weights of a network came about: the name without the treatment of thresholds."""
    training = record.get("training")
    if training is None:
        return ", ".join([IMPORTED if "source" in record else STANDARD, *_copies(record)])
    parts = []
    if float(training.get("ber") or 0.0) > 0:
        ranged = training.get("ber_from") is not None
        parts.append(TRAINED_FOR_RANGE if ranged else TRAINED_FOR_ERRORS)
    if training.get("loss", "cross-entropy") != "cross-entropy":
        # what is printed must not steer a terminal
        parts.append("".join(c if c.isprintable() else "?" for c in str(training["loss"])))
    elif float(training.get("margin") or 0.0) > 0:
        parts.append(MARGIN)
    return ", ".join([*(parts or [STANDARD]), *_copies(record)])


def name_of(record: Record) -> str:
    """Name of a network from its record: how it came about, and its thresholds unless fixed."""
    return _treated(training_of(record), record)


def names_of(records: Sequence[Record]) -> list[str]:
    """Distinct names for several networks.

    Networks of the same name are told apart by what differs in their training, and numbered where
    nothing does.
    """
    told = []
    for record in records:
        words = training_of(record)
        group = [other for other in records if training_of(other) == words]
        told.append(_treated(_with_details(words, record, group), record))
    return [
        name if told.count(name) == 1 else f"{name} {told[: i + 1].count(name)}"
        for i, name in enumerate(told)
    ]


def _treated(name: str, record: Record) -> str:
    treatment = treatment_of(dict(record))
    return name if treatment == FIXED else f"{name}, thresholds {treatment}"


def _copies(record: Record) -> list[str]:
    """Layers whose neurons were copied (`bnn.copy_neurons`)."""
    return [f"{layer} x {number}" for layer, number in record.get("copies", {}).items()]


def _rates(record: Record) -> str:
    training = record.get("training", {})
    low, high = training.get("ber_from"), float(training.get("ber") or 0.0)
    return f"BER {high:g}" if low is None else f"BER {low:g} to {high:g}"


_DETAILS: tuple[Callable[[Record], str], ...] = (
    lambda record: "-".join(map(str, record.get("architecture", {}).get("sizes", []))),
    _rates,
    lambda record: f"margin {record.get('training', {}).get('margin') or 0.0:g}",
    lambda record: f"normalised by {record.get('training', {}).get('normalise_by') or 'batch'}",
    lambda record: f"seed {record.get('training', {}).get('seed')}",
    lambda record: str(record.get("source", {}).get("file", "")),
)
"""What may tell networks of one name apart, the most telling first."""


def _with_details(name: str, record: Record, group: Sequence[Record]) -> str:
    """Name with the first details that tell a record from the others of its group."""
    rest, found = [other for other in group if other is not record], []
    for detail in _DETAILS:
        mine = detail(record)
        different = [other for other in rest if detail(other) != mine]
        if mine and different:
            found.append(mine)
            rest = [other for other in rest if other not in different]
        if not rest:
            break
    return f"{name} ({', '.join(found)})" if found else name
