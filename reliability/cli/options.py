"""Options of the command line that several commands share, in groups that :func:`opened` opens.

A command takes a group as one argument; a user sees the options in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from reliability.cli.guards import exit_1_on_failure
from reliability.files.output import check_directory, check_file, staged_directory, staged_file
from reliability.files.progress import Narrator

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet
    from bnn.networks.network import FoldedNetwork


def in_unit(unit: str) -> Callable[[str], float]:
    """Parser of an option whose number may carry its unit: ``20kohm`` where ohm is meant."""

    def parse(text: str) -> float:
        from devicefit.inputs.quantities import value_in

        try:
            return value_in(text, unit, "a number", what="this option")
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def option(*names: str, default: Any = None, **about: Any) -> Any:
    """Field of a group: an option of this default; what :func:`typer.Option` takes besides."""
    return field(default=default, metadata={"option": typer.Option(*names, **about)})


# What the sampler takes: 64 bits. Numbers of draws and points are bounded so that a slip of a key
# is refused, not the memory of the machine filled.
SeedOption = Annotated[
    int,
    typer.Option(min=0, max=2**63 - 1, help="Seed; the same seed gives the same bytes."),
]
ThreadsOption = Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")]
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
ImagesDirOption = Annotated[
    Path | None,
    typer.Option("--images-dir", help="Directory of the image files; else $RRAM_DATA_DIR is used."),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold-ohm",
        parser=in_unit("ohm"),
        metavar="OHM",
        help="1T1R threshold; else that of the fit, and if it had none the best one is chosen.",
    ),
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
ChipsOption = Annotated[
    int | None, typer.Option(min=2, max=1_000_000, help="Chips for each network.")
]
OffsetOption = Annotated[
    float | None, typer.Option("--offset-ln-r", help="Sense amplifier offset (sd in ln R), 2T2R.")
]
SecondOption = Annotated[
    str | None,
    typer.Option(
        "--second",
        metavar="VALUE",
        help="Value of the second programming variable, SI or with its unit: 1us.",
    ),
]
PriorsOption = Annotated[
    Path | None,
    typer.Option("--priors", help="TOML file of what is known beforehand; see docs/priors.md."),
]
NewArrayOption = Annotated[
    bool,
    typer.Option(
        "--new-array",
        help="For an array that was not measured, drawn from the fitted law between arrays.",
    ),
]
DrawsOption = Annotated[
    int | None, typer.Option(min=50, max=100_000, help="Posterior draws per chain.")
]


@dataclass(frozen=True)
class TableChoices:
    """How a table is read, and what of it."""

    column: ColumnOption = None
    where: list[str] | None = option(
        metavar="COLUMN=VALUE",
        help="Keep only rows in which the file's column has this value. Repeatable.",
    )
    overrange: str | None = option(
        metavar="OHM|none",
        help="Largest resistance that the instrument can read, e.g. 1e9 or 1Gohm: readings at "
        "or above it, and overflow (9.9e37, inf, OVLD), are known to be above it only. Without "
        "it overflow is above the largest ordinary reading. none: all readings at face value.",
    )
    exclude: list[str] | None = option(
        metavar="unformed|shorted|DEVICE_ID",
        help="Leave cells out: those recognised as never formed or as shorted, or one by its "
        "name. Repeatable; the results say how many.",
    )


@dataclass(frozen=True)
class ReadingsChoices:
    """Readings of devices; without a file those of the simulated reference device."""

    measurements: list[Path] | None = option(
        help="CSV or Parquet table of readings, bounds, counted errors or summaries. "
        "Repeatable: several are joined. Without it: the simulated reference device."
    )
    table: TableChoices = TableChoices()


@dataclass(frozen=True)
class ImageChoices:
    """The images that networks are trained on and counted with."""

    images: str = option(
        default="digits", help="Image set: digits, mnist, fashion-mnist or cifar-10."
    )
    images_dir: ImagesDirOption = None
    download: bool = option(
        "--download", default=False, help="Download missing image files (checksummed)."
    )

    def load(self, networks: Iterable[tuple[Path, FoldedNetwork, dict[str, Any]]] = ()) -> ImageSet:
        """Load them for networks; :func:`reliability.networks.images.load_image_set`."""
        from reliability.networks.images import load_image_set

        return load_image_set(self.images, self.images_dir, self.download, networks)


@dataclass(frozen=True)
class NetworkChoices:
    """Size and length of the training of networks."""

    hidden: str | None = option(help="Widths of the hidden layers, e.g. 1024,1024.")
    epochs: int | None = option(min=1, help="Passes over the training images.")


@dataclass(frozen=True)
class SimulationChoices:
    """Seed and CPU threads."""

    seed: SeedOption = 1
    threads: ThreadsOption = 2


@dataclass(frozen=True)
class FitChoices:
    """Device models to fit, what is known beforehand, and how they are sampled."""

    model: list[str] | None = option(
        "--model",
        "--family",
        help="Device model: lognormal, student-t, log-logistic, switching-failure, "
        "skewed-failure, or a page of your own, module:NAME (docs/families.md); repeatable, "
        "the first one answers. Or stacked: families weighted by how well they predict devices "
        "that were left out. Default: switching-failure, then lognormal.",
    )
    priors: PriorsOption = None
    seed: SeedOption = 1
    draws: DrawsOption = None
    warmup: int | None = option(min=50, max=100_000, help="Discarded draws per chain.")
    target_accept: float | None = option(min=0.5, max=0.999, help="Step-size target of NUTS.")
    threads: ThreadsOption = 2


@dataclass(frozen=True)
class BerChoices:
    """Where and how bits are read whose error rates are written."""

    second: SecondOption = None
    points: int = option(default=50, min=2, max=2000, help="Number of programming values.")
    threshold_ohm: ThresholdOption = None
    offset_ln_r: OffsetOption = None


@dataclass(frozen=True)
class QuietOutput:
    """Output of a command that shows no progress."""

    force: bool = option(
        "--force", default=False, help="Replace earlier output; files that are not ours stay."
    )

    def check_file(self, path: Path, suffix: str, option: str = "--out") -> None:
        """Refuse a file that cannot be written; :func:`reliability.files.output.check_file`."""
        check_file(path, force=self.force, suffix=suffix, option=option)

    def check_directory(self, out: Path) -> None:
        """Refuse a directory; :func:`reliability.files.output.check_directory`."""
        check_directory(out, force=self.force)

    @contextmanager
    def file(self, path: Path, option: str = "--out") -> Iterator[tuple[Path, Narrator]]:
        """File that appears whole when the work in the block is done, and who tells of the work."""
        with (
            exit_1_on_failure(),
            staged_file(path, force=self.force, option=option) as stage,
            self._narrator() as narrator,
        ):
            yield stage, narrator

    @contextmanager
    def directory(self, out: Path, names: Sequence[str]) -> Iterator[tuple[Path, Narrator]]:
        """The same for a directory with files of these names."""
        with (
            exit_1_on_failure(),
            staged_directory(out, force=self.force, names=names) as stage,
            self._narrator() as narrator,
        ):
            yield stage, narrator

    def _narrator(self) -> Narrator:
        return Narrator(quiet=True)


@dataclass(frozen=True)
class Output(QuietOutput):
    """Output of a command that shows its progress unless it is told not to."""

    quiet: bool = option("--quiet", default=False, help="No progress.")

    def _narrator(self) -> Narrator:
        return Narrator(quiet=self.quiet)


def opened(command: Callable[..., None]) -> Callable[..., None]:
    """Open up the groups of options that a command takes.

    Parameters
    ----------
    command : callable
        A parameter whose type is a dataclass stands for the fields of it, each with an annotated
        option and a default, or a group itself.

    Returns
    -------
    callable
        The same command for Typer: every field is an option, where the group stood.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    options = [option for p in parameters for option in _options(p.name, hints[p.name], p.default)]

    @wraps(command)
    def call(**values: Any) -> None:
        command(**{p.name: _value(p.name, hints[p.name], values) for p in parameters})

    # Typer reads these; what wraps() copies is that of the closed command.
    del call.__wrapped__
    call.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in options} | {"return": None}
    return call


def _options(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    """The options that a parameter of a command stands for."""
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for own in fields(kind):
            said = own.metadata.get("option")
            hint = hints[own.name] if said is None else Annotated[hints[own.name], said]
            yield from _options(own.name, hint, own.default)
    else:
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default
        )


def _value(name: str, kind: Any, values: dict[str, Any]) -> Any:
    """The value of a parameter of a command, from those of its options."""
    if not is_dataclass(kind) or not isinstance(kind, type):
        return values[name]
    hints = get_type_hints(kind, include_extras=True)
    return kind(**{f.name: _value(f.name, hints[f.name], values) for f in fields(kind)})
