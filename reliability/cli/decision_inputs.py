"""What the options of decisions say, in the terms of the library.

Heavy packages are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reliability.cli.guards import check_files
from reliability.cli.inputs import given
from reliability.cli.options import OffsetOption, ThresholdOption, in_unit, option

if TYPE_CHECKING:
    from devicefit.inputs.programming import Programming
    from reliability.decision.options import DecisionOptions
    from reliability.decision.requirement import Requirement
    from reliability.device.study import DeviceStudy
    from reliability.networks.study import NetworkStudy


@dataclass(frozen=True)
class DecisionChoices:
    """What a user says of a decision; None is left to the defaults of what it belongs to."""

    requirement: Path | None = option(
        help="TOML file of what must hold; see docs/requirements.md. Options override it."
    )
    max_loss: float | None = option(
        help="Largest accuracy loss, a fraction (0.01: one point, the default; 0.02 for digits)."
    )
    risk: float | None = option(help="Largest probability of a larger loss.")
    memory_ber: float | None = option(help="Residual BER that plain memory has to reach.")
    threshold_ohm: ThresholdOption = None
    offset_ln_r: OffsetOption = None
    one_is: str | None = option(help="State that stores the weight +1: LRS (default) or HRS.")
    scrambling: str = option(
        default="compare",
        help="Scrambled storage: half of the weights are stored inverted by a fixed pattern "
        "that is undone at reading, so that stored ones and zeros go wrong alike. compare: as "
        "an alternative; always; never.",
    )
    set_voltage_v: float | None = option(
        parser=in_unit("V"), metavar="V", help="Voltage during SET (assumed), V."
    )
    reset_voltage_v: float | None = option(
        parser=in_unit("V"), metavar="V", help="Voltage during RESET (assumed), V."
    )
    pulse_s: float | None = option(
        parser=in_unit("s"), metavar="S", help="Width of SET and RESET pulses (assumed), s."
    )
    energy: str | None = option(
        metavar="FILE.csv|none",
        help="Measured energies or SET currents with their errors; see docs/energy.md. none: "
        "no energy is known, and no saving is stated.",
    )
    energy_sd: list[str] | None = option(
        metavar="NAME=SD",
        help="What is not known of the pulses: voltage, pulse, current, current_slope, "
        "reset_current, v_c or inference, e.g. voltage=0.05. Repeatable.",
    )
    second: str | None = option(
        metavar="VALUE",
        help="Decide at this value of the second programming variable, e.g. 1us; without it "
        "the measured values are compared.",
    )


@dataclass(frozen=True)
class AnswerChoices(DecisionChoices):
    """What a user says of a decision that is aged over a life and confirmed by chips."""

    life_files: list[Path] | None = option(
        "--life",
        help="Posterior of endurance, retention or wear-out, written by a `life` command, for "
        "the life that the requirement file asks for. Repeatable.",
    )
    confirm_minutes: float = option(
        default=10.0,
        min=0.0,
        help="About the time that confirming designs by chips may take in all: fewer chips and "
        "a wider interval where it does not suffice. 0: do not confirm.",
    )
    arrays_per_chip: int = option(
        default=1, min=1, help="Arrays that the cells of a chip lie on (assumed)."
    )


def requirement_of(chosen: DecisionChoices, image_set: str | None) -> Requirement:
    """What must hold: options override the requirement file, that the default for the images."""
    from reliability.decision.requirement import default_requirement
    from reliability.decision.requirement_files import read_requirement

    base = default_requirement(image_set)
    if chosen.requirement is not None:
        base = read_requirement(chosen.requirement, base)
    return replace(
        base, **given(max_loss=chosen.max_loss, risk=chosen.risk, memory_ber=chosen.memory_ber)
    )


def decision_options(
    chosen: DecisionChoices,
    *,
    image_set: str | None = None,
    seed: int = 1,
) -> DecisionOptions:
    """What the decision options say; values of a second variable come with the device.

    Where the image set is known later only, :func:`requirement_of` gives the requirement then.
    """
    from devicefit.distributions.sensing import SensingOptions
    from reliability.decision.options import DecisionOptions
    from reliability.energy.energy import NO_ENERGY, EnergyOptions
    from reliability.energy.tables import read_energies
    from reliability.plans.storage import storages_for

    wanted = requirement_of(chosen, image_set)
    if chosen.pulse_s is not None and not 0 < chosen.pulse_s < math.inf:
        raise ValueError(f"--pulse-s is {chosen.pulse_s}; it must be positive")
    pulses = {
        **given(
            set_voltage_v=chosen.set_voltage_v,
            reset_voltage_v=chosen.reset_voltage_v,
            set_pulse_s=chosen.pulse_s,
            reset_pulse_s=chosen.pulse_s,
        ),
        **_energy_sds(chosen.energy_sd or []),
    }
    sensing = given(threshold_ohm=chosen.threshold_ohm, offset_ln_r=chosen.offset_ln_r)
    none = chosen.energy == NO_ENERGY
    if none and pulses:
        raise ValueError(
            f"--energy {NO_ENERGY} says that nothing is known of the energy; leave out "
            f"{', '.join(pulses)}, or --energy {NO_ENERGY}"
        )
    lives = []
    if isinstance(chosen, AnswerChoices) and chosen.life_files:
        # imported here: no other decision needs them
        from devicefit.life.files import load_life
        from reliability.life.factors import check_lives
        from reliability.statements.life import life_asked

        check_files(chosen.life_files, "--life")
        lives = [load_life(path) for path in chosen.life_files]
        check_lives(lives, life_asked(wanted))
    return DecisionOptions(
        requirement=wanted,
        sensing=SensingOptions(**sensing),
        energy=None if none else EnergyOptions(**pulses),
        energy_table=None if none or chosen.energy is None else read_energies(chosen.energy),
        lives=tuple(lives),
        storages=storages_for(chosen.scrambling),
        one_is=_state_of_one(chosen.one_is),
        seed=seed,
    )


def _state_of_one(said: str | None) -> str:
    """State that stores the weight +1."""
    if said not in (None, "LRS", "HRS"):
        raise ValueError(f"--one-is {said!r} is not known; known: LRS, HRS")
    return said or "LRS"


def on_device(
    options: DecisionOptions,
    said_second: str | None,
    programming: Programming,
    values: Sequence[float],
    *,
    second: Programming | None,
    second_values: Sequence[float],
) -> DecisionOptions:
    """Options with the values of the second variable that are compared, if they fit the device.

    Parameters
    ----------
    options : DecisionOptions
        What was asked for.
    said_second : str or None
        Value of the second variable that was named.
    programming : Programming
        The programming variable.
    values : sequence of float
        Its measured values, ascending; the first and the last are looked at.
    second, second_values
        The second variable and its measured values.

    Raises
    ------
    ValueError
        One condition only, or energies, a reference or a value of the second variable of another
        variable or range.
    """
    from reliability.decision.options import ONE_CONDITION
    from reliability.decision.second_variable import compared_values

    low, high, table = float(values[0]), float(values[-1]), options.energy_table
    seconds = compared_values(said_second, second, second_values)
    if table is not None and len(seconds) > 1:
        raise ValueError(
            f"--energy {table.source}: the energies hold at one value of the second variable "
            f"({second.name if second else ''}), of which {len(seconds)} were measured; name it "
            "with --second"
        )
    if low == high:
        raise ValueError(ONE_CONDITION)
    if table is not None:
        table.check(programming, low, high)
    if options.lives:
        # imported here: no other decision needs them
        from reliability.life.factors import check_programming

        check_programming(options.lives, programming)
    if options.requirement.reference is not None:
        options.requirement.reference.check(programming, low, high)
    return replace(options, seconds=seconds)


def on_study(
    options: DecisionOptions, chosen: DecisionChoices, study: DeviceStudy, counts: list[Path]
) -> tuple[DecisionOptions, dict[str, NetworkStudy]]:
    """Options that fit a fitted device, and the counted networks they are asked of."""
    frame = study.main.frame
    options = on_device(
        options,
        chosen.second,
        frame.programming,
        (frame.low, frame.high),
        second=frame.second,
        second_values=study.second_values,
    )
    sensing = study.sensing(**vars(options.sensing))
    study.check_threshold(sensing)
    networks = counted_networks(counts)
    required = requirement_of(chosen, counted_images(networks))
    return replace(options, sensing=sensing, requirement=required), networks


def _energy_sds(texts: list[str]) -> dict[str, float]:
    """``NAME=SD`` texts as fields of the energy options."""
    from dataclasses import fields

    from reliability.energy.energy import EnergyOptions

    known = [f.name.removesuffix("_sd") for f in fields(EnergyOptions) if f.name.endswith("_sd")]
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise ValueError(
                f"--energy-sd {text!r} is not of the form NAME=SD; names: {', '.join(known)}"
            )
        if f"{name}_sd" in found:
            raise ValueError(f"--energy-sd {text}: {name} is given twice; give it once")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"--energy-sd {text!r}: {value!r} is not a number") from None
        # named here as the user wrote it
        if not 0 <= number < 1:
            raise ValueError(f"--energy-sd {text!r}: {value} must lie between 0 and 1")
        found[f"{name}_sd"] = number
    return found


def counted_networks(paths: list[Path]) -> dict[str, NetworkStudy]:
    """Tables of counts by the names of their networks, trainings of one recipe joined.

    Raises
    ------
    ValueError
        A file is no table of counts, or no surface can be fitted to the tables.
    """
    from reliability.accuracy.training_counts import check_counts, join_trainings
    from reliability.files.whole_directory import reading
    from reliability.networks.study import load_counts, network_names

    check_files(paths, "--counts")
    with ExitStack() as stack:
        for directory in {path.parent for path in paths}:
            stack.enter_context(reading(directory))
        found = [load_counts(path) for path in paths]
    tables = join_trainings(found)
    networks = dict(zip(network_names(tables), tables, strict=True))
    check_counts(networks)
    return networks


def counted_images(networks: dict[str, NetworkStudy]) -> str | None:
    """Name of the image set that the standard network was counted on, where it is known."""
    from reliability.networks.images import image_set_of

    return image_set_of(next(iter(networks.values())).record)
