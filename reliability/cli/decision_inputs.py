"""What the options of decisions say, in the terms of the library.

Heavy packages are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reliability.cli.guards import check_files
from reliability.cli.inputs import given

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet
    from devicefit.inputs.programming import Programming
    from reliability.cli.options import ConfirmChoices, DecisionChoices
    from reliability.confirmation.confirmables import Find
    from reliability.confirmation.confirming import Confirming
    from reliability.decision.options import DecisionOptions
    from reliability.decision.requirement import Requirement
    from reliability.device.study import DeviceStudy
    from reliability.files.progress import Narrator
    from reliability.networks.study import NetworkStudy
    from reliability.results.results import Results


def requirement_of(chosen: DecisionChoices, image_set: str | None) -> Requirement:
    """What must hold: options override the requirement file, that the default for the images."""
    from dataclasses import replace

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
    life_files: list[Path] | None = None,
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
    if life_files:
        # imported here: no other decision needs them
        from devicefit.life.files import load_life
        from reliability.life.factors import check_lives
        from reliability.statements.life import life_asked

        check_files(life_files, "--life")
        lives = [load_life(path) for path in life_files]
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
    from dataclasses import replace

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
        raise ValueError(
            "all readings are at one condition, so there is no programming to choose; measure two "
            "conditions or more, or stop at `fit`, `ber`, `predict` and `evaluate --device`"
        )
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
    from dataclasses import replace

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


def answer_from(
    study: DeviceStudy,
    networks: dict[str, NetworkStudy],
    options: DecisionOptions,
    narrator: Narrator,
    *,
    simulated: bool,
    with_next: bool = False,
    confirming: Confirming,
) -> Results:
    """Results with the command line in them; of the simulated device with its truth."""
    from devicefit.simulation.reference_device import ReferenceDevice
    from reliability.results.answer import answer

    narrator.say("propagating bit errors to accuracy, deciding")
    return answer(
        study,
        networks,
        options,
        command=shlex.join(["rram-reliability", *sys.argv[1:]]),
        with_next=with_next,
        truth=ReferenceDevice() if simulated else None,
        confirming=confirming,
        say=narrator.say,
    )


def confirming_with(
    study: Any,
    networks: dict[str, NetworkStudy],
    find: Find,
    images_of: Callable[[str], ImageSet],
    chosen: ConfirmChoices,
    *,
    seed: int,
    threads: int,
) -> Confirming:
    """How designs are confirmed, or why they are not."""
    from reliability.confirmation.confirmables import confirmables
    from reliability.confirmation.confirming import Confirming

    common: dict[str, Any] = {
        "device": study.main,
        "arrays_per_chip": chosen.arrays_per_chip,
        "measured": study.measured,
        "threads": threads,
        "seed": seed,
    }
    if chosen.confirm_minutes == 0:
        return Confirming({}, missing="--confirm-minutes 0 was asked for", **common)
    found, missing = confirmables(networks, find, images_of, threads=threads)
    return Confirming(found, budget_s=60 * chosen.confirm_minutes, missing=missing, **common)
