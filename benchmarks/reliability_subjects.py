"""Devices and networks that the benchmarks of the decision are about, fitted and counted once.

Fits are quick ones, of few draws and of a part of the readings: what is asked of them is whether
chips keep what they promise, not how good they are. Likewise the networks for MNIST answer a part
of the test images. What was fitted or counted lies in a folder and is used again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import bnn
from analyses.measured_gate_sweep import read_sweep
from bnn.calibration.treatments import FIXED
from devicefit.distributions.sensing import SensingOptions
from devicefit.inputs.columns import parse_columns
from devicefit.measurements.measurements import Measurements, read_measurements
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import reference_measurements
from reliability.confirmation.confirming import Confirmable
from reliability.decision.requirement import Requirement, default_requirement
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy, study_device
from reliability.energy.energy import EnergyOptions
from reliability.networks.study import (
    NetworkOptions,
    NetworkStudy,
    evaluate_network,
    load_counts,
    save_counts,
)
from reliability.networks.treated import TREATMENTS, treated_study
from reliability.networks.treatments import reference_from, treated_record

SEED = 1
SAMPLER = SamplerOptions(draws=300, warmup=400, target_accept=0.98, seed=SEED, cores=1)
GATE_PULSES = EnergyOptions(
    set_voltage_v=2.0, reset_voltage_v=2.0, set_pulse_s=1e-6, reset_pulse_s=1e-6, voltage_sd=0.1
)


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Device:
    """A device.

    Parameters
    ----------
    read : callable
        From the folders of data and of cases to its readings.
    note : str
        Which readings.
    energy : EnergyOptions
        Pulses.
    """

    read: Callable[[Path, Path], Measurements]
    note: str
    energy: EnergyOptions = EnergyOptions()


def _pulse_sweep(data: Path, cases: Path) -> Measurements:
    return read_measurements(
        data / "devices" / "sapiens_40nm" / "pulse_sweep.csv.gz",
        columns=parse_columns(["programming=gate_voltage_v:V"]),
        where=[("pulse", "SET"), ("bl_voltage_v", "3")],
    )


def _laboratory_file(data: Path, cases: Path) -> Measurements:
    return read_measurements(
        cases / "20-verdict-against-chips" / "A_tidy.csv",
        columns=parse_columns(
            ["device_id=cell", "programming=I_set_uA:uA", "resistance_ohm=R_kohm:kohm"]
        ),
    )


DEVICES = {
    "simulated reference device": Device(
        lambda data, cases: reference_measurements(seed=SEED), "simulated, all readings"
    ),
    "measured gate sweep 1 us": Device(
        lambda data, cases: read_sweep(data, every=4),
        "1.4 V and above, every fourth device of each voltage",
        GATE_PULSES,
    ),
    "laboratory file (cases/20)": Device(_laboratory_file, "simulated, all readings"),
    "four arrays (cases/25)": Device(
        lambda data, cases: read_measurements(cases / "25-arrays-differ" / "arr.csv"),
        "simulated, all readings; LRS of the arrays differ by factors of 0.6 to 1.8",
    ),
    "SAPIENS pulse sweep": Device(
        _pulse_sweep, "SET pulses of all widths at a bit line of 3 V", GATE_PULSES
    ),
    "measured gate sweep 10 us": Device(
        lambda data, cases: read_sweep(data, every=4, run="fppv_10us_2021-04-02"),
        "second run, 1.4 V and above, every fourth device of each voltage",
        replace(GATE_PULSES, set_pulse_s=1e-5),
    ),
}


def device_directory(name: str, work: Path) -> Path:
    """Where the fit of a device lies."""
    return work / "devices" / "".join(c if c.isalnum() else "-" for c in name)


def device_study(name: str, data: Path, cases: Path, work: Path) -> DeviceStudy:
    """Fit of a device, from `work` if it is there."""
    directory = device_directory(name, work)
    if (directory / "device.json").exists():
        return load_study(directory)
    say(f"fitting the {name}")
    study = study_device(
        DEVICES[name].read(data, cases),
        families=("switching-failure",),
        sampler=SAMPLER,
        sensing=SensingOptions(),
        say=say,
    )
    directory.mkdir(parents=True, exist_ok=True)
    save_study(study, directory)
    return study


@dataclass(frozen=True)
class Subjects:
    """Networks of one image set with one treatment of thresholds, the standard one first.

    Parameters
    ----------
    image_set : str
        ``"digits"`` or ``"mnist"``.
    thresholds : str
        A word of :data:`reliability.networks.treated.TREATMENTS`.
    names : tuple of str
        Networks of the zoo.
    chips : int
        Chips behind each surface.
    most_images : int
        Test images, the first of the set.
    threads : int
        CPU threads.
    """

    image_set: str
    thresholds: str
    names: tuple[str, ...]
    chips: int
    most_images: int
    threads: int = 1

    @property
    def requirement(self) -> Requirement:
        """Default of the image set."""
        return default_requirement(self.image_set)

    @property
    def treatment(self) -> str:
        """Of :mod:`bnn.calibration.calibration`."""
        return TREATMENTS[self.thresholds]

    def images(self, data: Path) -> bnn.ImageSet:
        """The image set, its test images cut."""
        found = bnn.load_images(self.image_set, images_dir=data / "images")
        return replace(
            found,
            test_images=found.test_images[: self.most_images],
            test_labels=found.test_labels[: self.most_images],
        )

    def confirmable(self, name: str, images: bnn.ImageSet) -> Confirmable:
        """A network as chips are counted of it."""
        network, _ = bnn.load_zoo(name)
        make = None
        if self.treatment != FIXED:
            make = partial(
                reference_from, network, images, number=None, seed=SEED, threads=self.threads
            )
        return Confirmable(network, images, self.treatment, make)

    def counts_path(self, name: str, images: bnn.ImageSet, work: Path) -> Path:
        """Where the counts of a network lie."""
        of = f"{name}-{self.thresholds}-{self.chips}-chips-{len(images.test_images)}-images.nc"
        return work / "counts" / of

    def counted(self, name: str, images: bnn.ImageSet, work: Path) -> NetworkStudy:
        """Counts of a network, from `work` if they are there."""
        path = self.counts_path(name, images, work)
        if not path.exists():
            say(f"counting {path.stem}")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_counts(self._count(name, images), path)
        return load_counts(path)

    def _count(self, name: str, images: bnn.ImageSet) -> NetworkStudy:
        network, record = bnn.load_zoo(name)
        options = NetworkOptions(chips=self.chips, seed=SEED, threads=self.threads)

        def tick(done: int, total: int) -> None:
            pass

        if self.treatment == FIXED:
            return evaluate_network(network, images, options, record, tick=tick)
        reference = self.confirmable(name, images).reference
        treated: dict[str, Any] = treated_record(
            record, self.treatment, reference, images, seed=SEED
        )
        return treated_study(
            reference, images, options, treated, treatment=self.treatment, tick=tick
        )

    @cached_property
    def label(self) -> str:
        """For tables: ``"digits, fixed"``."""
        return f"{self.image_set}, {self.thresholds}"


DIGITS = ("digits-standard", "digits-4e-2")
MNIST = ("mnist-standard", "mnist-4e-2", "mnist-range", "mnist-margin")


def all_subjects(mnist_images: int, threads: int) -> list[Subjects]:
    """Every image set with every treatment, in the order in which they are counted."""
    return [
        Subjects(images, word, names, 40 if word == "calibrated" else chips, most, threads)
        for images, names, chips, most in (
            ("digits", DIGITS, 100, 600),
            ("mnist", MNIST, 50, mnist_images),
        )
        for word in TREATMENTS
    ]
