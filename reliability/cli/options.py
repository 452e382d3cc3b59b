"""Options of the command line that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


def _in_unit(unit: str) -> Callable[[str], float]:
    """Parser of an option whose number may carry its unit: ``20kohm`` where ohm is meant."""

    def parse(text: str) -> float:
        from devicefit.inputs.quantities import value_in

        try:
            return value_in(text, unit, "a number", what="this option")
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


MeasurementsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--measurements",
        help="CSV or Parquet table of readings, bounds, counted errors or summaries. Repeatable: "
        "several are joined. Without it: the simulated reference device.",
    ),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="OURS=THEIRS[:UNIT]",
        help="Map a column of the file, e.g. programming=V_gate:V or resistance_ohm=R:kohm; "
        "programming=none if nothing was varied, programming_2=... for a second variable. "
        "Repeatable.",
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="unformed|shorted|DEVICE_ID",
        help="Leave cells out: those recognised as never formed or as shorted, or one by its name. "
        "Repeatable; the results say how many.",
    ),
]
# What the sampler takes: 64 bits. Numbers of draws and points are bounded so that a slip of a key
# is refused, not the memory of the machine filled.
SeedOption = Annotated[
    int,
    typer.Option(min=0, max=2**63 - 1, help="Seed; the same seed gives the same bytes."),
]
ThreadsOption = Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace earlier output; files that are not ours stay.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress.")]
ImagesOption = Annotated[
    str, typer.Option(help="Image set: digits, mnist, fashion-mnist or cifar-10.")
]
ImagesDirOption = Annotated[
    Path | None,
    typer.Option("--images-dir", help="Directory of the image files; else $RRAM_DATA_DIR is used."),
]
HiddenOption = Annotated[
    str | None, typer.Option(help="Widths of the hidden layers, e.g. 1024,1024.")
]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")]
ChipsOption = Annotated[
    int | None, typer.Option(min=2, max=1_000_000, help="Chips for each network.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold-ohm",
        parser=_in_unit("ohm"),
        metavar="OHM",
        help="1T1R threshold; else that of the fit, and if it had none the best one is chosen.",
    ),
]
PointsOption = Annotated[
    int, typer.Option("--points", min=2, max=2000, help="Number of programming values.")
]
ThresholdsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--thresholds",
        help="Besides thresholds as trained (fixed), count with thresholds folded for each BER "
        "(folded) or calibrated on each chip (calibrated). Repeatable; digits: all unless said, "
        "other images: fixed alone.",
    ),
]
OffsetOption = Annotated[
    float | None, typer.Option("--offset-ln-r", help="Sense amplifier offset (sd in ln R), 2T2R.")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "--family",
        help="Device model: lognormal, student-t, log-logistic, switching-failure, skewed-failure, "
        "or a page of your own, module:NAME (docs/families.md); repeatable, the first one answers. "
        "Or stacked: families weighted by how well they predict devices that were left out. "
        "Default: switching-failure, then lognormal.",
    ),
]
PriorsOption = Annotated[
    Path | None,
    typer.Option("--priors", help="TOML file of what is known beforehand; see docs/priors.md."),
]
DrawsOption = Annotated[
    int | None, typer.Option(min=50, max=100_000, help="Posterior draws per chain.")
]
LivesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--life",
        help="Posterior of endurance, retention or wear-out, written by a `life` command, for the "
        "life that the requirement file asks for. Repeatable.",
    ),
]


SecondOption = Annotated[
    str | None,
    typer.Option(
        "--second",
        metavar="VALUE",
        help="Value of the second programming variable, SI or with its unit: 1us.",
    ),
]


@dataclass(frozen=True)
class TableChoices:
    """How a file of readings is read. Commands take groups like this through :func:`opened`."""

    column: ColumnOption = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="COLUMN=VALUE",
            help="Keep only rows in which the file's column has this value. Repeatable.",
        ),
    ] = None
    overrange: Annotated[
        str | None,
        typer.Option(
            "--overrange",
            metavar="OHM|none",
            help="Largest resistance that the instrument can read, e.g. 1e9 or 1Gohm: readings at "
            "or above it, and overflow (9.9e37, inf, OVLD), are known to be above it only. "
            "Without it "
            "overflow is above the largest ordinary reading. none: all readings at face value.",
        ),
    ] = None
    exclude: ExcludeOption = None


@dataclass(frozen=True)
class ImageChoices:
    """Which images, and where they are."""

    images: ImagesOption = "digits"
    images_dir: ImagesDirOption = None
    download: Annotated[
        bool, typer.Option("--download", help="Download missing image files (checksummed).")
    ] = False


@dataclass(frozen=True)
class SamplingChoices:
    """How posteriors are sampled; None is left to :class:`SamplerOptions`."""

    seed: SeedOption = 1
    draws: DrawsOption = None
    warmup: Annotated[
        int | None, typer.Option(min=50, max=100_000, help="Discarded draws per chain.")
    ] = None
    target_accept: Annotated[
        float | None,
        typer.Option("--target-accept", min=0.5, max=0.999, help="Step-size target of NUTS."),
    ] = None
    threads: ThreadsOption = 2


@dataclass(frozen=True)
class RunChoices:
    """Seed, threads, and what happens to earlier output."""

    seed: SeedOption = 1
    threads: ThreadsOption = 2
    force: ForceOption = False
    quiet: QuietOption = False


@dataclass(frozen=True)
class LifeChoices:
    """The same for fits of life, which take so many draws."""

    seed: SeedOption = 1
    draws: DrawsOption = None
    force: ForceOption = False
    quiet: QuietOption = False


@dataclass(frozen=True)
class DecisionChoices:
    """What a user says of a decision; None is left to the defaults of what it belongs to.

    Commands take it through :func:`opened`, each field as an option.
    """

    requirement: Annotated[
        Path | None,
        typer.Option(
            "--requirement",
            help="TOML file of what must hold; see docs/requirements.md. Options override it.",
        ),
    ] = None
    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            help="Largest accuracy loss, a fraction (0.01: one point, the default; 0.02 for "
            "digits).",
        ),
    ] = None
    risk: Annotated[float | None, typer.Option(help="Largest probability of a larger loss.")] = None
    memory_ber: Annotated[
        float | None,
        typer.Option("--memory-ber", help="Residual BER that plain memory has to reach."),
    ] = None
    threshold_ohm: ThresholdOption = None
    offset_ln_r: OffsetOption = None
    one_is: Annotated[
        str | None,
        typer.Option("--one-is", help="State that stores the weight +1: LRS (default) or HRS."),
    ] = None
    scrambling: Annotated[
        str,
        typer.Option(
            help="Scrambled storage: half of the weights are stored inverted by a fixed pattern "
            "that is undone at reading, so that stored ones and zeros go wrong alike. compare: "
            "as an "
            "alternative; always; never.",
        ),
    ] = "compare"
    set_voltage_v: Annotated[
        float | None,
        typer.Option(
            "--set-voltage-v",
            parser=_in_unit("V"),
            metavar="V",
            help="Voltage during SET (assumed), V.",
        ),
    ] = None
    reset_voltage_v: Annotated[
        float | None,
        typer.Option(
            "--reset-voltage-v",
            parser=_in_unit("V"),
            metavar="V",
            help="Voltage during RESET (assumed), V.",
        ),
    ] = None
    pulse_s: Annotated[
        float | None,
        typer.Option(
            "--pulse-s",
            parser=_in_unit("s"),
            metavar="S",
            help="Width of SET and RESET pulses (assumed), s.",
        ),
    ] = None
    energy: Annotated[
        str | None,
        typer.Option(
            "--energy",
            metavar="FILE.csv|none",
            help="Measured energies or SET currents with their errors; see docs/energy.md. none: "
            "no energy is known, and no saving is stated.",
        ),
    ] = None
    energy_sd: Annotated[
        list[str] | None,
        typer.Option(
            "--energy-sd",
            metavar="NAME=SD",
            help="What is not known of the pulses: voltage, pulse, current, current_slope, "
            "reset_current, v_c or inference, e.g. voltage=0.05. Repeatable.",
        ),
    ] = None
    second: Annotated[
        str | None,
        typer.Option(
            "--second",
            metavar="VALUE",
            help="Decide at this value of the second programming variable, e.g. 1us; without it "
            "the measured values are compared.",
        ),
    ] = None


@dataclass(frozen=True)
class ConfirmChoices:
    """How the recommended design is confirmed by chips; opened like :class:`DecisionChoices`."""

    confirm_minutes: Annotated[
        float,
        typer.Option(
            "--confirm-minutes",
            min=0.0,
            help="About the time that confirming designs by chips may take in all: fewer chips and "
            "a wider interval where it does not suffice. 0: do not confirm.",
        ),
    ] = 10.0
    arrays_per_chip: Annotated[
        int,
        typer.Option(
            "--arrays-per-chip", min=1, help="Arrays that the cells of a chip lie on (assumed)."
        ),
    ] = 1


def opened(command: Callable[..., None]) -> Callable[..., None]:
    """Open up the groups of options that a command takes.

    Parameters
    ----------
    command : callable
        A parameter whose type is a dataclass stands for the fields of it, each with an annotated
        option and a default.

    Returns
    -------
    callable
        The same command for Typer: every field is an option, where the group stood.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[parameter.name] = kind
            own = get_type_hints(kind, include_extras=True)
            parameters += [_option(f.name, own[f.name], f.default) for f in fields(kind)]
        else:
            parameters.append(_option(parameter.name, kind, parameter.default))

    @wraps(command)
    def call(**values: Any) -> None:
        joined = {
            name: kind(**{f.name: values.pop(f.name) for f in fields(kind)})
            for name, kind in groups.items()
        }
        command(**values, **joined)

    # Typer reads these; what wraps() copies is that of the closed command.
    del call.__wrapped__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return call


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )
