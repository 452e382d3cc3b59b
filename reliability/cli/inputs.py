"""From the texts of a command line to checked objects; what is wrong raises ValueError or OSError.

Heavy packages are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reliability.cli.options import FitChoices, TableChoices

if TYPE_CHECKING:
    from devicefit.distributions.sensing import SensingOptions
    from devicefit.families.frame import Frame
    from devicefit.measurements.measurements import Measurements
    from devicefit.priors.files import PriorFile
    from devicefit.sampling.options import SamplerOptions
    from devicefit.treatments.overrange import Overrange

FAR = 30.0
"""Beyond so many times the measured range a number without unit is likely in another unit."""


def read_input(paths: list[Path] | None, table: TableChoices | None = None) -> Measurements:
    """Measurements of the files, or of the simulated device where no file is named."""
    from devicefit.inputs.columns import parse_columns
    from devicefit.inputs.refusals import MeasurementError
    from devicefit.measurements.measurements import read_measurements
    from devicefit.numerics.stored import reading
    from devicefit.simulation.reference_device import reference_measurements

    table = table or TableChoices()
    if not paths:
        if any(vars(table).values()):
            raise ValueError(
                "--column, --where, --overrange and --exclude need --measurements FILE"
            )
        return reference_measurements()
    mapping, conditions = parse_columns(table.column or []), parse_where(table.where or [])
    largest, files = instrument_range(table.overrange), ", ".join(map(str, paths))
    with reading(
        files, "table of readings", "see `rram-reliability check`", refuse=MeasurementError
    ):
        return read_measurements(
            paths, columns=mapping, where=conditions, overrange=largest, exclude=table.exclude or []
        )


def data_warnings(measurements: Measurements) -> list[str]:
    """Findings in the readings, a line each."""
    return [f"warning: {warning}" for warning in measurements.warnings]


def instrument_range(text: str | None) -> Overrange:
    """What a user says of the range of the instrument."""
    from devicefit.treatments.overrange import UNKNOWN_RANGE, parse_overrange

    return UNKNOWN_RANGE if text is None else parse_overrange(text)


def parse_where(texts: list[str]) -> list[tuple[str, str]]:
    """``COLUMN=VALUE`` texts as pairs."""
    pairs = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise ValueError(f"--where {text!r} is not of the form COLUMN=VALUE")
        pairs.append((name, value))
    return pairs


def chosen_models(names: list[str] | None) -> tuple[tuple[str, ...], bool]:
    """Families to fit, the one that answers first, and whether they are stacked."""
    from devicefit.families.registry import FAMILIES
    from reliability.device.study import STACKED, STACKED_FAMILIES

    if not names:
        return ("switching-failure", "lognormal"), False
    for name in names:
        if name != STACKED and name not in FAMILIES:
            raise ValueError(
                f"--model {name!r} is not known; known: {', '.join((*FAMILIES, STACKED))}, or a "
                "page of your own, module:NAME"
            )
    if STACKED not in names:
        return tuple(dict.fromkeys(names)), False
    others = tuple(dict.fromkeys(n for n in names if n != STACKED))
    if len(others) == 1:
        raise ValueError(
            f"--model {STACKED} with --model {others[0]} has one family only; name two or more "
            f"families, or {STACKED} alone for all"
        )
    return others or STACKED_FAMILIES, True


def one_family(name: str) -> str:
    """A family of device models by its name; a stack is none."""
    from devicefit.families.registry import FAMILIES
    from reliability.device.study import STACKED

    if name == STACKED:
        raise ValueError(
            f"--model {STACKED} joins several families, each with priors of its own; name one: "
            f"{', '.join(FAMILIES)}"
        )
    if name not in FAMILIES:
        raise ValueError(f"--model {name!r} is not known; known: {', '.join(FAMILIES)}")
    return name


def left_out_groups(measurements: Measurements, number: int) -> list[tuple[float, float]]:
    """Groups of programming values to leave out, none for 0."""
    from devicefit.checks.left_out_conditions import split_conditions

    if number == 0:
        return []
    try:
        return split_conditions(measurements, number)
    except ValueError as error:
        raise ValueError(f"--leave-out {number}: {error}") from None


def measured_frame(measurements: Measurements) -> Frame:
    """Range on which priors are defined."""
    from devicefit.compression.compression import compress
    from devicefit.families.frame import Frame

    return Frame.of(compress(measurements))


def prior_file(path: Path | None) -> PriorFile | None:
    """Priors of a file, or None."""
    from devicefit.priors.files import read_priors

    return None if path is None else read_priors(path)


def prior_warnings(
    measurements: Measurements,
    known: PriorFile | None,
    families: tuple[str, ...],
    sensing: SensingOptions,
    seed: int,
) -> list[str]:
    """What the prior predictive check says of a file's priors; nothing without a file."""
    from reliability.device.prior_check import flag_lines, stated_priors

    if known is None:
        return []
    stated = stated_priors(measured_frame(measurements), known, families=families)
    return flag_lines(stated, sensing, seed=seed)


def sampler_options(said: FitChoices) -> SamplerOptions:
    """Sampler with what the user changed."""
    from devicefit.sampling.options import SamplerOptions

    changes = given(draws=said.draws, warmup=said.warmup, target_accept=said.target_accept)
    return SamplerOptions(seed=said.seed, cores=said.threads, **changes)


def programming_at(said: str, frame: Frame, option: str) -> float:
    """A programming value that a user says, for a fitted device.

    Raises
    ------
    ValueError
        No value of this variable, or a number without unit so far from the measured range that the
        unit is likely missing.
    """
    from devicefit.inputs.quantities import parse_quantity, programming_value

    value, variable = programming_value(said, frame.programming, option), frame.programming
    far = not frame.low / FAR <= value <= FAR * frame.high
    if variable.is_logarithmic and far and parse_quantity(said)[1] is None:
        raise ValueError(
            f"{option} {said} is {value:g} {variable.unit}, far from the measured "
            f"{variable.format(frame.low)} to {variable.format(frame.high)}; if the unit is "
            f"missing, write for example {said}u{variable.unit}, else {said}{variable.unit}"
        )
    return value


def given(**values: Any) -> dict[str, Any]:
    """What the user gave; the defaults live with the options they belong to."""
    return {name: value for name, value in values.items() if value is not None}
