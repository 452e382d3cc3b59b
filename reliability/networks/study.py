"""Networks of a study: training them and counting their answers under bit errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from bnn.calibration.treatments import FIXED, FOLDED_FOR_EACH, PER_CHIP
from devicefit.numerics.datasets import read_datasets, write_datasets
from devicefit.numerics.short_repr import short_repr
from devicefit.numerics.stored import plain_number, reading, shown
from reliability.networks.counts import refuse_impossible, whole
from reliability.networks.names import name_of as name_of
from reliability.networks.names import names_of
from reliability.networks.records import check_record

if TYPE_CHECKING:
    # A decision reads counts only: the packages of networks take it seconds to import.
    from bnn.evaluation.counting import Progress
    from bnn.evaluation.precision import Precision
    from bnn.images.sets import ImageSet
    from bnn.networks.network import FoldedNetwork
    from bnn.training.options import TrainingOptions
    from reliability.networks.plan import EvaluationPlan

FORMAT = "rram-reliability counts 2"

BER_GRID = (
    1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 3e-2, 4e-2, 5e-2, 7e-2, 0.1, 0.15, 0.2, 0.3,
    0.5,
)  # fmt: skip
"""Bit error rates at which networks are evaluated."""

UNEQUAL_GROUP = "unequal"
"""Group of a file of counts that holds those at unequal rates; files without it are older ones."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class NetworkOptions:
    """Networks to train and chips to evaluate.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    epochs : int
        Passes over the training images.
    train_ber : float
        BER of the network trained for errors.
    chips : int
        Chips per network, each with its own persistent error pattern.
    seed : int
        Seed of training and of chips.
    threads : int
        CPU threads.
    treatments : tuple of str
        Treatments of thresholds that are counted, of `bnn.calibration.treatments`; the first one
        first.
    calibrated_chips : int or None
        Most chips that are calibrated one by one, which costs more; None: as many as `chips`.
    unequal_chips : int
        Most chips that are also counted with unequal rates of ones and zeros; 0: none are.
    """

    hidden: tuple[int, ...] = (256, 256)
    epochs: int = 100
    train_ber: float = 0.04
    chips: int = 100
    seed: int = 1
    threads: int = 2
    treatments: tuple[str, ...] = (FIXED,)
    calibrated_chips: int | None = None
    unequal_chips: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.train_ber < 0.5:
            raise ValueError(f"train_ber is {self.train_ber}; give a rate between 0 and 0.5")
        if self.chips < 2:
            raise ValueError(f"chips is {self.chips}; at least 2 are needed for their spread")
        if self.unequal_chips < 0 or self.unequal_chips == 1:
            raise ValueError(
                f"unequal_chips is {self.unequal_chips}; give 0 for none, or at least 2 for their "
                "spread"
            )


def counting_words(
    network: FoldedNetwork, images: ImageSet, options: NetworkOptions, treatment: str, rates: int
) -> str:
    """What is counted over BER and about how long it takes, for a line beforehand."""
    from bnn.study.chip_seconds import seconds_per_chip
    from bnn.study.rate_pairs import TILTED_RATES, TILTS

    pairs, few = len(TILTED_RATES) * len(TILTS), min(options.chips, options.unequal_chips)
    counted = rates * options.chips + pairs * few
    seconds = counted * seconds_per_chip(network, len(images.test_images), treatment)
    unequal = f", {few} of them at {pairs} pairs of unequal rates too" if few else ""
    return (
        f"{options.chips} chips at {rates} rates{unequal}, about {seconds:.2g} s on two idle cores"
    )


def options_for(image_set: str) -> NetworkOptions:
    """Defaults of an image set: small for digits, the paper's size for the others."""
    if image_set == "digits":
        return NetworkOptions(treatments=(FIXED, FOLDED_FOR_EACH, PER_CHIP), calibrated_chips=40)
    return NetworkOptions(hidden=(1024, 1024), epochs=15, chips=50)


@short_repr
@dataclass(frozen=True)
class NetworkStudy:
    """A network and its counts.

    Parameters
    ----------
    counts : xarray.Dataset
        From ``bnn.evaluate``.
    record : dict
        How the network came to be, as plain values.
    further_trainings : tuple of NetworkStudy
        Trainings of the same recipe with other seeds.
    unequal : xarray.Dataset or None
        From :func:`bnn.study.rate_pairs.count_rate_pairs`: what unequal rates of stored ones
        and zeros do; None where only equal rates were counted.
    """

    counts: xr.Dataset
    record: dict[str, Any]
    further_trainings: tuple[NetworkStudy, ...] = ()
    unequal: xr.Dataset | None = None


def train_network(
    images: ImageSet, options: NetworkOptions, *, ber: float, say: Say, tick: Progress
) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Train and fold one network; returns it with its training record."""
    return run_training(images, training_options(images, options, ber=ber), say=say, tick=tick)


def training_options(
    images: ImageSet, options: NetworkOptions, *, ber: float, **changes: Any
) -> TrainingOptions:
    """Options of a training; `changes` are those that a study leaves as they are."""
    from bnn.training.options import TrainingOptions

    # Threads gain nothing on the small digits network, and cost when cores are shared.
    threads = options.threads if len(images.train_images) > 10_000 else 1
    return TrainingOptions(
        hidden=options.hidden,
        epochs=options.epochs,
        ber=ber,
        seed=options.seed,
        threads=threads,
        **changes,
    )


def run_training(
    images: ImageSet,
    training: TrainingOptions,
    *,
    say: Say,
    tick: Progress,
    checkpoint: Path | None = None,
    initial: Path | None = None,
) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Train and fold one network, from its checkpoint if there is one, and give its record."""
    from bnn.training.folding import fold
    from bnn.training.training import train, training_record

    maps = () if training.convolutions is None else training.convolutions.channels
    widths = (images.train_images.shape[1], *maps, *training.hidden, len(images.classes))
    sizes = "-".join(str(s) for s in widths)
    kind = f"at BER {training.ber:g}" if training.ber else "without errors"
    if training.ber_from is not None:
        kind = f"at BER {training.ber_from:g} to {training.ber:g}"
    say(f"training {sizes} on {images.name} {kind}")
    trained = train(
        images,
        training,
        progress=lambda result: tick(result.epoch, training.epochs),
        checkpoint=checkpoint,
        initial=initial,
    )
    return fold(trained.module), training_record(trained)


@dataclass(frozen=True)
class Counting:
    """How the chips of a plan are counted.

    Parameters
    ----------
    engine : str
        As of `bnn.evaluate`.
    memory : int or None
        Bytes that the engine may take, as of `bnn.evaluate`.
    precision : Precision or None
        Chips and images are added until the mean accuracy loss is known so well; None: a number of
        chips is counted.
    earlier : xarray.Dataset or None
        Counts of the first chips, which are added to.
    """

    engine: str = "auto"
    memory: int | None = None
    precision: Precision | None = None
    earlier: xr.Dataset | None = None


def evaluate_network(
    network: FoldedNetwork,
    images: ImageSet,
    options: NetworkOptions,
    record: dict[str, Any],
    *,
    plan: EvaluationPlan | None = None,
    counting: Counting = Counting(),
    tick: Progress,
) -> NetworkStudy:
    """Count answers of every chip in every case of a plan.

    Without a plan the cases are the BER of the grid. With the BER of a grid pairs of unequal rates
    of ones and zeros are counted besides.
    """
    from bnn.evaluation.evaluation import combine
    from bnn.evaluation.precision import count_to_precision
    from bnn.networks.network import network_sha256
    from reliability.networks.plan import rates_plan

    if plan is None:
        plan = rates_plan(network, images, BER_GRID, seed=options.seed)
    common: dict[str, Any] = {"engine": counting.engine, "memory": counting.memory}
    common["threads"] = options.threads
    precision, earlier = counting.precision, counting.earlier
    if precision is None:
        done = 0 if earlier is None else earlier.sizes["chip"]
        parts = [] if earlier is None else [earlier]
        if options.chips > done:
            left = options.chips - done
            parts.append(
                plan.count(chips=left, first_chip=done, progress=tick, timed=True, **common)
            )
        counts = combine(*parts)
    else:
        most = precision.most_chips
        counts = count_to_precision(
            partial(plan.count, timed=True, **common),
            images=len(images.test_images),
            precision=precision,
            seed=options.seed,
            progress=lambda done, _: tick(done, most),
        )
    unequal = None
    chips = min(options.chips, options.unequal_chips)
    if plan.unequal is not None and chips:
        unequal = plan.unequal(chips=chips, progress=tick, **common)
    found = {**record, "network_sha256": network_sha256(network)}
    return NetworkStudy(counts, found, unequal=unequal)


def network_names(studies: list[NetworkStudy]) -> list[str]:
    """Distinct names for several networks."""
    return names_of([study.record for study in studies])


def save_counts(study: NetworkStudy, path: Path) -> None:
    """Write counts and record as one netCDF file.

    The seconds that counting took are left out: the same seed gives the same bytes.
    """
    from bnn.evaluation.counts import SECONDS

    attrs = {key: value for key, value in study.counts.attrs.items() if key != SECONDS}
    counts = study.counts.drop_attrs(deep=False).assign_attrs(attrs)
    groups = {"": counts.assign_attrs(record=json.dumps(study.record))}
    if study.unequal is not None:
        groups[UNEQUAL_GROUP] = study.unequal
    write_datasets(path, FORMAT, groups)


def load_counts(path: Path) -> NetworkStudy:
    """Read what :func:`save_counts` wrote.

    Raises
    ------
    ValueError
        Not such a file, one of another version, a damaged one, or counts that cannot be; says what
        is wrong and what to do.
    """
    with reading(path, "table of counts", "write it with `rram-reliability evaluate`"):
        groups = read_datasets(path, FORMAT)
        if unknown := set(groups) - {"", UNEQUAL_GROUP}:
            raise ValueError(f"unknown groups {', '.join(sorted(unknown))}")
        counts, unequal = groups[""], groups.get(UNEQUAL_GROUP)
        record = json.loads(counts.attrs.pop("record"))
        check_record(record)
        refuse_impossible(counts)
        if unequal is not None:
            _check_unequal(unequal, counts)
    return NetworkStudy(counts, record, unequal=unequal)


def _check_unequal(unequal: xr.Dataset, counts: xr.Dataset) -> None:
    """Refuse counts at unequal rates that cannot be, or are those of another network."""
    refuse_impossible(unequal, weights=whole(counts, "weights", 1))
    for name in ("network_sha256", "images_sha256"):
        if unequal.attrs[name] != counts.attrs[name]:
            raise ValueError(f"{name} of the counts at unequal rates differs from the others")
    ones = plain_number(unequal.attrs.get("ones"))
    if ones is None or not 0 <= ones <= 1:
        raise ValueError(f"ones is {shown(unequal.attrs.get('ones'))}; it must be a share")
    if not {"ber", "tilt"} <= set(unequal.coords):
        raise ValueError("the rates of the counts at unequal rates are missing")
