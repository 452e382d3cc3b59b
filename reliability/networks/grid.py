"""Grids: networks trained at several error rates, counted at several error rates of their chips."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bnn.calibration.treatments import FIXED, FOLDED_FOR_EACH, PER_CHIP
from bnn.evaluation.counting import Progress
from bnn.images.sets import ImageSet
from bnn.networks.network import network_sha256
from bnn.training.options import TrainingOptions
from bnn.training.training import check_resumable
from reliability.networks.study import NetworkOptions, Say, run_training, training_options
from reliability.networks.treated import count_treated
from reliability.networks.treatments import reference_from

FORMAT = "rram-reliability training grid 2"

TEST_RATES = (0.0, 1e-3, 1e-2, 2e-2, 4e-2, 7e-2, 0.1, 0.15, 0.2)
"""Rates of the chips unless the user names others."""


@dataclass(frozen=True)
class TrainingRates:
    """Errors of one training.

    Parameters
    ----------
    highest : float
        BER during training; 0 for none.
    lowest : float or None
        Where given, every step has a rate of its own from `lowest` to `highest`.
    """

    highest: float
    lowest: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.highest < 0.5:
            raise ValueError(f"{self.highest:g} is no training rate; give one from 0 to below 0.5")
        if self.lowest is not None and not 0 <= self.lowest < self.highest:
            raise ValueError(
                f"{self.lowest:g}-{self.highest:g} is no range of training rates; the first must "
                "lie from 0 to below the second"
            )

    @classmethod
    def parse(cls, text: str) -> TrainingRates:
        """Rate or range of rates, ``0.04`` or ``0:0.15``."""
        try:
            rates = [float(part) for part in text.split(":")]
        except ValueError:
            rates = []
        if len(rates) not in (1, 2):
            raise ValueError(f"{text!r} is no training rate; give one like 0.04 or 0:0.15")
        return cls(rates[-1], rates[0] if len(rates) == 2 else None)

    @property
    def name(self) -> str:
        """Short name, also of files: ``0.04`` or ``0-0.15``."""
        low = "" if self.lowest is None else f"{self.lowest:g}-"
        return f"{low}{self.highest:g}"


@dataclass(frozen=True)
class GridOptions:
    """What a grid consists of.

    Parameters
    ----------
    trainings : tuple of TrainingRates
        One network each, all with the same seed.
    rates : tuple of float
        BER of the chips.
    treatments : tuple of str
        Treatments of thresholds, of `bnn.calibration.treatments`.
    networks : NetworkOptions
        Widths, epochs, chips, seed, threads.
    changes : dict
        Further options of every training (`bnn.TrainingOptions`).
    """

    trainings: tuple[TrainingRates, ...]
    rates: tuple[float, ...] = TEST_RATES
    treatments: tuple[str, ...] = (FIXED, FOLDED_FOR_EACH, PER_CHIP)
    networks: NetworkOptions = field(default_factory=NetworkOptions)
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [training.name for training in self.trainings]
        for what, values in (("training rates", names), ("rates of chips", self.rates)):
            if not values:
                raise ValueError(f"a grid needs {what}; name at least one")
            if len(set(values)) < len(values):
                raise ValueError(f"{what} {', '.join(map(str, values))}: name each one once")
        for rate in self.rates:
            if not 0 <= rate <= 0.5:
                raise ValueError(f"rate {rate:g} of chips; give rates from 0 to 0.5")


def count_grid(
    images: ImageSet,
    options: GridOptions,
    *,
    checkpoints: Path | None = None,
    say: Say,
    tick: Progress,
) -> xr.Dataset:
    """Train every network and count its chips at every rate, with every treatment.

    Parameters
    ----------
    images : ImageSet
        Training and test images.
    options : GridOptions
        What the grid consists of.
    checkpoints : Path, optional
        Directory of checkpoints: a training that is there is gone on from, or taken if it is done.
    say, tick : callable
        Progress.

    Returns
    -------
    xarray.Dataset
        ``correct``, dims (training, treatment, ber, chip), of ``test_images`` images. Chip ``k`` is
        the same error pattern for every network and treatment. ``sha256`` of each network; the
        attribute ``record`` (JSON) says how each came to be.
    """
    networks = options.networks
    found, records, digests = [], [], []
    for training in options.trainings:
        checkpoint = None if checkpoints is None else _checkpoint(checkpoints, training)
        wanted = _wanted(images, options, training)
        network, record = run_training(images, wanted, say=say, tick=tick, checkpoint=checkpoint)
        reference = None
        if options.treatments != (FIXED,):
            reference = reference_from(
                network, images, number=None, seed=networks.seed, threads=networks.threads
            )
        chips: dict[str, Any] = {
            "chips": networks.chips, "seed": networks.seed, "threads": networks.threads
        }  # fmt: skip
        rows = []
        for treatment in options.treatments:
            say(f"counting {networks.chips} chips, thresholds {treatment}")
            counted = (network, reference, images, treatment)
            rows.append(count_treated(*counted, rates=options.rates, progress=tick, **chips))
        found.append(rows)
        records.append(record)
        digests.append(network_sha256(network))
    return xr.Dataset(
        {
            "correct": (("training", "treatment", "ber", "chip"), np.array(found)),
            "train_ber": ("training", [training.highest for training in options.trainings]),
            "train_ber_from": (
                "training",
                [t.highest if t.lowest is None else t.lowest for t in options.trainings],
            ),
            "sha256": ("training", digests),
        },
        coords={
            "training": [training.name for training in options.trainings],
            "treatment": list(options.treatments),
            "ber": list(options.rates),
            "chip": np.arange(networks.chips),
        },
        attrs={
            "image_set": images.name,
            "test_images": len(images.test_images),
            "seed": networks.seed,
            "record": json.dumps(records),
        },
    )


def check_checkpoints(images: ImageSet, options: GridOptions, checkpoints: Path) -> None:
    """Refuse checkpoints that are those of other trainings, before anything is trained.

    Raises
    ------
    ValueError
        As of :func:`bnn.training.training.check_resumable`.
    """
    for training in options.trainings:
        wanted = _wanted(images, options, training)
        check_resumable(images, wanted, checkpoint=_checkpoint(checkpoints, training))


def _wanted(images: ImageSet, options: GridOptions, training: TrainingRates) -> TrainingOptions:
    return training_options(
        images,
        options.networks,
        ber=training.highest,
        ber_from=training.lowest,
        **options.changes,
    )


def _checkpoint(folder: Path, training: TrainingRates) -> Path:
    return folder / f"train-{training.name}.checkpoint.safetensors"
