"""How much programming energy does a measured SET gate-voltage sweep allow a BNN to save?

Question
    From the resistances of 15,050 cells of a 1 Mbit RRAM array, each set once by a 1 us pulse at
    one of 301 gate voltages, what is the lowest gate voltage at which a 784-1024-1024-10 network
    on MNIST stays within one point of its error-free accuracy, and what does that save?

Inputs
    ``radar_gate_sweep/gate_sweep.csv.gz`` (1 us run) and the MNIST files, both under ``--data``,
    a directory with ``devices/`` and ``images/``. Networks are two of `bnn.zoo`.

Choices
    Gate voltages of 1.4 V and above: below, the pulse does nothing and the "LRS" rows are a second
    reading of an undisturbed HRS. No programming current was recorded, so energy is inferred from
    the LRS resistance of the whole read path. SET: 2.0 V bit line as recorded, 1 us. RESET: not
    recorded, assumed 2.0 V and 1 us.

Seed
    1 for everything.

Outputs
    ``analyses/results/measured_gate_sweep/``: ``results.json`` and ``index.html`` (figures and
    tables, no raw readings).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import bnn
from bnn.calibration.treatments import FIXED
from devicefit.distributions.sensing import SensingOptions
from devicefit.inputs.columns import parse_columns
from devicefit.measurements.measurements import Measurements, check_measurements, read_measurements
from devicefit.sampling.options import SamplerOptions
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.device.study import study_device
from reliability.energy.energy import EnergyOptions
from reliability.files.progress import Narrator
from reliability.networks.study import NetworkOptions, NetworkStudy, evaluate_network, name_of
from reliability.report import render_report
from reliability.results.answer import answer
from reliability.results.results import Results

RUN = "fppv_1us_2021-04-02"
LOWEST_V = 1.4
SEED = 1
HERE = Path(__file__).resolve().parent
NETWORKS = ("mnist-standard", "mnist-4e-2")
FULL = NetworkOptions(chips=50, seed=SEED, threads=2)


def read_sweep(data: Path, *, every: int = 1, run: str = RUN) -> Measurements:
    """Readings of a run, that of 1 us, at 1.4 V and above; every n-th device of each voltage."""
    found = read_measurements(
        data / "devices" / "radar_gate_sweep" / "gate_sweep.csv.gz",
        columns=parse_columns(["programming=set_gate_voltage_v:V"]),
        where=[("sweep", run)],
    )
    table = found.table[found.table["programming"] >= LOWEST_V - 1e-9]
    rank = table.groupby(["state", "programming"]).cumcount()
    width = run.split("_")[1].replace("us", " us")
    return check_measurements(
        table[rank % every == 0],
        found.programming,
        source=f"{found.source}, {width} run, {LOWEST_V} V and above"
        + (f", every {every}th device" if every > 1 else ""),
        sha256=found.sha256,
    )


def run_path(
    data: Path,
    *,
    options: NetworkOptions,
    sampler: SamplerOptions,
    narrator: Narrator,
    every: int = 1,
    images_used: int | None = None,
    confirm_s: float = 600.0,
    command: str,
) -> Results:
    """The whole path on the measured sweep, with networks of the zoo.

    `every` n-th device of each voltage is used, the first `images_used` test images, and about
    `confirm_s` for confirming designs by chips.
    """
    sensing = SensingOptions()
    measurements = read_sweep(data, every=every)
    device = study_device(measurements, sampler=sampler, sensing=sensing, say=narrator.say)
    images = bnn.load_images("mnist", images_dir=data / "images")
    if images_used is not None:
        images = replace(
            images,
            test_images=images.test_images[:images_used],
            test_labels=images.test_labels[:images_used],
        )
    studies: dict[str, NetworkStudy] = {}
    confirmable: dict[str, Confirmable] = {}
    for name in NETWORKS:
        network, record = bnn.load_zoo(name)
        narrator.say(f"evaluating {options.chips} chips of the network {name_of(record)!r}")
        studies[name_of(record)] = evaluate_network(
            network, images, options, record, tick=narrator.tick
        )
        confirmable[name_of(record)] = Confirmable(network, images, FIXED)
    narrator.say("propagating bit errors to accuracy, deciding")
    return answer(
        device,
        studies,
        DecisionOptions(
            requirement=Requirement(),
            sensing=sensing,
            energy=EnergyOptions(
                set_voltage_v=2.0,
                reset_voltage_v=2.0,
                set_pulse_s=1e-6,
                reset_pulse_s=1e-6,
                voltage_sd=0.1,
            ),
            seed=SEED,
        ),
        command=command,
        confirming=Confirming(
            confirmable,
            device.main,
            budget_s=confirm_s,
            threads=sampler.cores,
            seed=SEED,
            measured=device.measured,
        ),
        say=narrator.say,
    )


def main() -> int:
    """Run the analysis from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="has devices/ and images/")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "measured_gate_sweep")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with Narrator() as narrator:
        results = run_path(
            arguments.data,
            options=FULL,
            sampler=SamplerOptions(
                draws=750,
                warmup=700,
                target_accept=0.98,
                seed=SEED,
                cores=arguments.threads,
            ),
            narrator=narrator,
            command="python analyses/measured_gate_sweep.py --data DATA",
        )
    for name, text in (
        ("results.json", results.to_json()),
        ("index.html", render_report(results)),
    ):
        (arguments.out / name).write_text(text, encoding="utf-8")
    print(results.values["verdict"]["sentence"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
