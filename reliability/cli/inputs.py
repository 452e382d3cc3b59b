"""From the texts of a command line to checked objects; what is wrong raises ValueError or OSError.

Heavy packages are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reliability.cli.guards import check_files

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet
    from devicefit.distributions.sensing import SensingOptions
    from devicefit.families.frame import Frame
    from devicefit.inputs.programming import Programming
    from devicefit.measurements.measurements import Measurements
    from devicefit.priors.files import PriorFile
    from devicefit.sampling.sampler import SamplerOptions
    from devicefit.treatments.overrange import Overrange
    from reliability.cli.options import ConfirmChoices, DecisionChoices
    from reliability.confirmation.confirmables import Find
    from reliability.confirmation.confirmed import Confirming
    from reliability.decision.requirement import Requirement
    from reliability.files.progress import Narrator
    from reliability.networks.study import NetworkOptions, NetworkStudy
    from reliability.results.results import Results

FAR = 30.0
"""Beyond so many times the measured range a number without unit is likely in another unit."""


def read_input(
    paths: list[Path] | None,
    columns: list[str] | None,
    where: list[str] | None,
    overrange: str | None = None,
    exclude: list[str] | None = None,
) -> Measurements:
    """Measurements of the files, or of the simulated device where no file is named."""
    from devicefit.inputs.columns import parse_columns
    from devicefit.inputs.refusals import MeasurementError
    from devicefit.measurements.measurements import read_measurements
    from devicefit.numerics.stored import reading
    from devicefit.simulation.reference_device import reference_measurements

    if not paths:
        if columns or where or overrange or exclude:
            raise ValueError(
                "--column, --where, --overrange and --exclude need --measurements FILE"
            )
        return reference_measurements()
    mapping, conditions = parse_columns(columns or []), parse_where(where or [])
    largest, files = instrument_range(overrange), ", ".join(map(str, paths))
    with reading(
        files, "table of readings", "see `rram-reliability check`", refuse=MeasurementError
    ):
        return read_measurements(
            paths, columns=mapping, where=conditions, overrange=largest, exclude=exclude or []
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


def sampler_options(
    seed: int,
    threads: int,
    draws: int | None,
    warmup: int | None,
    target_accept: float | None,
) -> SamplerOptions:
    """Sampler with what the user changed."""
    from devicefit.sampling.sampler import SamplerOptions

    return SamplerOptions(
        seed=seed,
        cores=threads,
        **given(draws=draws, warmup=warmup, target_accept=target_accept),
    )


def network_options(
    images: str,
    hidden: str | None,
    epochs: int | None,
    train_ber: float | None,
    chips: int | None,
    seed: int,
    threads: int,
) -> NetworkOptions:
    """Defaults of an image set with what the user changed."""
    from dataclasses import replace

    from bnn.images.sets import IMAGE_SETS
    from reliability.networks.study import options_for

    if images not in IMAGE_SETS:
        raise ValueError(f"--images {images!r} is not known; known: {', '.join(IMAGE_SETS)}")
    changes: dict[str, Any] = {"seed": seed, "threads": threads}
    if hidden is not None:
        try:
            widths = tuple(int(text) for text in hidden.split(","))
        except ValueError:
            raise ValueError(f"--hidden {hidden!r}: give widths like 1024,1024") from None
        if min(widths) < 1:
            raise ValueError(f"--hidden {hidden!r}: widths must be positive")
        changes["hidden"] = widths
    for name, value in (("epochs", epochs), ("train_ber", train_ber), ("chips", chips)):
        if value is not None:
            changes[name] = value
    return replace(options_for(images), **changes)


def load_networks(
    paths: list[Path], images: str, directory: Path | None, download: bool
) -> tuple[ImageSet, list[tuple[str, Any, dict[str, Any]]]]:
    """The image set, and the networks of a user with distinct names."""
    from reliability.networks.images import load_image_set
    from reliability.networks.names import names_of
    from reliability.networks.records import open_network

    found = [(path, *open_network(path)) for path in paths]
    image_set = load_image_set(images, directory, download, found)
    names = names_of([record for *_, record in found])
    named = [(name, net, record) for name, (_, net, record) in zip(names, found, strict=True)]
    return image_set, named


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


def study_networks(
    given: list[tuple[str, Any, dict[str, Any]]],
    images: ImageSet,
    options: NetworkOptions,
    narrator: Narrator,
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The user's networks, or a standard one and one trained for errors."""
    from reliability.networks.study import name_of, train_network

    yield from given
    for rate in () if given else (0.0, options.train_ber):
        folded, record = train_network(
            images, options, ber=rate, say=narrator.say, tick=narrator.tick
        )
        yield name_of(record), folded, record


def with_treatments(options: NetworkOptions, words: list[str] | None) -> NetworkOptions:
    """Options with the treatments of thresholds that the user asked for, fixed ones first."""
    from dataclasses import replace

    from bnn.calibration.calibration import FIXED
    from reliability.networks.treated import TREATMENTS

    for word in words or ():
        if word not in TREATMENTS:
            raise ValueError(f"--thresholds {word!r} is not known; known: {', '.join(TREATMENTS)}")
    if not words:
        return options
    treatments = tuple(dict.fromkeys([FIXED, *(TREATMENTS[word] for word in words)]))
    return replace(options, treatments=treatments, calibrated_chips=None)


def network_stems(
    given: list[tuple[str, Any, dict[str, Any]]], options: NetworkOptions, *, taken: list[str]
) -> dict[str, str]:
    """Stems of files for the networks of a run and their counts, by name; none of those taken.

    Raises
    ------
    ValueError
        Two of them have one name.
    """
    from reliability.files.file_names import file_stems
    from reliability.networks.study import name_of

    trained = [{"training": {"ber": rate}} for rate in (0.0, options.train_ber)]
    networks = [(name, record) for name, _, record in given]
    names = [
        of
        for name, record in networks or [(name_of(record), record) for record in trained]
        for of in (name, *_treated_names(name, record, options).values())
    ]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two networks are called {name!r}; leave one out")
    return file_stems(names, taken=[Path(file).stem for file in taken])


def _treated_names(name: str, record: dict[str, Any], options: NetworkOptions) -> dict[str, str]:
    """What counts of a network are called, by the treatments that it is counted with besides."""
    from bnn.calibration.calibration import FIXED
    from reliability.networks.treatments import treatment_of

    if treatment_of(record) != FIXED:
        return {}
    return {t: f"{name}, thresholds {t}" for t in options.treatments if t != FIXED}


def evaluated(
    name: str,
    folded: Any,
    record: dict[str, Any],
    images: ImageSet,
    options: NetworkOptions,
    narrator: Narrator,
) -> Iterator[tuple[str, NetworkStudy]]:
    """Counts of one network with each treatment of its thresholds, and their names."""
    from dataclasses import replace

    from bnn.calibration.calibration import FIXED, PER_CHIP
    from reliability.networks.study import BER_GRID, counting_words, evaluate_network
    from reliability.networks.treated import treated_study
    from reliability.networks.treatments import reference_from, treated_record

    counted = counting_words(folded, images, options, FIXED, len(BER_GRID))
    narrator.say(f"evaluating the network {name!r}: {counted}")
    yield name, evaluate_network(folded, images, options, record, tick=narrator.tick)
    treated = _treated_names(name, record, options)
    if not treated:
        return
    reference = reference_from(
        folded, images, number=None, seed=options.seed, threads=options.threads
    )
    for treatment, treated_name in treated.items():
        chips = options.chips
        if treatment == PER_CHIP and options.calibrated_chips is not None:
            chips = min(chips, options.calibrated_chips)
        few = replace(options, chips=chips)
        counted = counting_words(folded, images, few, treatment, len(BER_GRID))
        narrator.say(f"evaluating it with thresholds {treatment}: {counted}")
        study = treated_study(
            reference,
            images,
            few,
            treated_record(record, treatment, reference, images, seed=options.seed),
            treatment=treatment,
            tick=narrator.tick,
        )
        yield treated_name, study


def given(**values: Any) -> dict[str, Any]:
    """What the user gave; the defaults live with the options they belong to."""
    return {name: value for name, value in values.items() if value is not None}


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
    chosen: DecisionChoices, life_files: list[Path] | None = None, *, image_set: str | None = None
) -> dict[str, Any]:
    """Requirement, sensing, stored bits, energies and posteriors of life by name.

    Where the image set is known later only, :func:`requirement_of` gives the requirement then.
    """
    from devicefit.distributions.sensing import SensingOptions
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
    return {
        "requirement": wanted,
        "lives": lives,
        "sensing": SensingOptions(**sensing),
        "storages": storages_for(chosen.scrambling),
        "one_is": _state_of_one(chosen.one_is),
        "energy": None if none else EnergyOptions(**pulses),
        "energy_table": None if none or chosen.energy is None else read_energies(chosen.energy),
        "second": chosen.second,
    }


def _state_of_one(said: str | None) -> str:
    """State that stores the weight +1."""
    if said not in (None, "LRS", "HRS"):
        raise ValueError(f"--one-is {said!r} is not known; known: LRS, HRS")
    return said or "LRS"


def check_decision(
    options: dict[str, Any],
    programming: Programming,
    low: float,
    high: float,
    *,
    second: Programming | None,
    second_values: Sequence[float],
) -> None:
    """Refuse options that do not belong to the device, before any work is done.

    `options` get the values of the second variable that are compared, ``seconds``.

    Raises
    ------
    ValueError
        One condition only, or energies, a reference or a value of the second variable of another
        variable or range.
    """
    from reliability.decision.second_variable import compared_values

    options["seconds"] = compared_values(options["second"], second, second_values)
    if options["energy_table"] is not None and len(options["seconds"]) > 1:
        raise ValueError(
            f"--energy {options['energy_table'].source}: the energies hold at one value of the "
            f"second variable ({second.name if second else ''}), of which "
            f"{len(options['seconds'])} were measured; name it with --second"
        )
    if low == high:
        raise ValueError(
            "all readings are at one condition, so there is no programming to choose; measure two "
            "conditions or more, or stop at `fit`, `ber`, `predict` and `evaluate --device`"
        )
    if options["energy_table"] is not None:
        options["energy_table"].check(programming, low, high)
    if options["lives"]:
        # imported here: no other decision needs them
        from reliability.life.factors import check_programming

        check_programming(options["lives"], programming)
    if options["requirement"].reference is not None:
        options["requirement"].reference.check(programming, low, high)


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
    study: Any,
    networks: dict[str, NetworkStudy],
    options: dict[str, Any],
    seed: int,
    narrator: Narrator,
    *,
    truth: bool,
    with_next: bool = False,
    confirming: Confirming,
) -> Results:
    """Results with the command line in them."""
    from devicefit.simulation.reference_device import ReferenceDevice
    from reliability.results.answer import answer

    narrator.say("propagating bit errors to accuracy, deciding")
    return answer(
        study,
        networks,
        requirement=options["requirement"],
        sensing=options["sensing"],
        energy_options=options["energy"],
        energy_table=options["energy_table"],
        lives=options["lives"],
        with_next=with_next,
        seconds=options["seconds"],
        storages=options["storages"],
        one_is=options["one_is"],
        seed=seed,
        command=shlex.join(["rram-reliability", *sys.argv[1:]]),
        truth=ReferenceDevice() if truth else None,
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
    from reliability.confirmation.confirmed import Confirming

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
