"""What do chips cost whose bits come from resistances, or are misread anew for every image?

Question
    Seconds to draw and sense every cell of 784-1024-1024-10 (1,861,632 bits) from one posterior
    draw of each family, 1T1R and 2T2R; seconds for 10,000 images with read errors of several
    rates, and the ratio to explicit misread positions for each image.

Equal results first: with read errors in the layer of pixels alone, and with every weight misread,
both ways give the same answers; wrong bits of each state agree with the closed form.

Run ``python -m benchmarks.chip_routes --json benchmarks/chip_routes.json``. Network, images and
posteriors are simulated. Seconds of processor time of one thread; median and range of three runs
after one that compiles.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from bnn import FoldedNetwork, TransientFlips
from bnn.engines.misread.reader import Reader, answers_by_positions, start_reader
from bnn.engines.packed import packed
from bnn.errors.errors import Errors
from bnn.machine.packing import pack_bits
from bnn.networks.network import HiddenLayer, OutputLayer, flip_weights
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.cells import CellReader, cell_reader
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from reliability.networks.direct_route import wrong_positions

SIZES = (784, 1024, 1024, 10)
IMAGES, FEW = 10_000, 60
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 4e-2)
REPEATS = 3
REJECT = 1e-5


def network_and_images() -> tuple[FoldedNetwork, np.ndarray]:
    """Random weights and sparse images, four pixels of five black."""
    rng = np.random.default_rng(1)
    layers: list[Any] = []
    for index, (columns, rows) in enumerate(zip(SIZES[:-1], SIZES[1:], strict=True)):
        weights = pack_bits(rng.random((rows, columns)) < 0.5)
        if index == len(SIZES) - 2:
            scale, shift = np.ones(rows), np.zeros(rows)
            layers.append(
                OutputLayer(
                    name="output", columns=columns, weights=weights, scale=scale, shift=shift
                )
            )
            continue
        width = np.sqrt(columns) * (150 if index == 0 else 1)
        layers.append(
            HiddenLayer(
                name=f"hidden_{index + 1}",
                columns=columns,
                weights=weights,
                threshold=np.rint(rng.normal(scale=width, size=rows)).astype(np.int32),
                direction=rng.choice(np.array([-1, 1], np.int8), size=rows),
            )
        )
    images = rng.integers(0, 256, (IMAGES, SIZES[0]), dtype=np.uint8)
    images[rng.random(images.shape) < 0.8] = 0
    return FoldedNetwork(tuple(layers)), images


def posterior_of(family: str) -> DevicePosterior:
    """One draw of a family at the middle of its priors."""
    frame = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
    draws = xr.Dataset(
        {
            p.name: (("chain", "draw"), np.full((1, 1), p.mean))
            for p in FAMILIES[family].priors(frame)
        }
    )
    record = {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}}
    return DevicePosterior(family, draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, 1), record)


def seconds(work: Callable[[int], object]) -> dict[str, float]:
    """Median, least and most over the repeats; each repeat is another chip."""
    work(0)
    times = []
    for chip in range(1, REPEATS + 1):
        begin = time.process_time()
        work(chip)
        times.append(time.process_time() - begin)
    return {"median": statistics.median(times), "least": min(times), "most": max(times)}


def _draw(network: FoldedNetwork, reader: CellReader, chip: int) -> object:
    return wrong_positions(network, reader, seed=1, chip=chip)


def _answer(answers: Callable[..., Any], errors: Errors, chip: int) -> object:
    return answers({}, errors, chip=chip)


def check_cells(reader: CellReader) -> None:
    """Refuse to time cells that are not those of the closed form."""
    bits = np.arange(400_000) % 2 == 0
    wrong = reader.wrong(bits, draw=0, rng=np.random.default_rng(5))
    for state, of_state in (("LRS", bits), ("HRS", ~bits)):
        errors, trials = int(wrong[of_state].sum()), int(of_state.sum())
        expected = float(reader.error_probability[state][0])
        if stats.binomtest(errors, trials, expected).pvalue < REJECT:
            raise RuntimeError(f"{state}: {errors} of {trials} wrong, expected {expected:.3g}")


def check_reads(reader: Reader) -> None:
    """Refuse to time read errors that do not equal the explicit ones where both are the same."""
    pixels = Errors(transient=(TransientFlips(0.01, frozenset({"hidden_1"})),))
    explicit = answers_by_positions(reader, {}, pixels, chip=0)
    if (reader.answers({}, pixels, chip=0) != explicit).any():
        raise RuntimeError("misread pixels differ from explicit positions")
    everything = {name: np.arange(n) for name, n in reader.network.weight_bits.items()}
    inverted = flip_weights(reader.network, everything)
    expected = packed.predict(inverted, packed.prepare(reader.images), threads=1)
    found = reader.answers({}, Errors(transient=(TransientFlips(1.0),)), chip=0)
    if (found != expected).any():
        raise RuntimeError("every weight misread is not the inverted network")


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    path = parser.parse_args().json
    network, images = network_and_images()
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, one thread",
        "bits": sum(network.weight_bits.values()),
        "images": IMAGES,
        "drawing": {},
        "read_errors": {},
    }
    for family in FAMILIES:
        device = posterior_of(family)
        row = {}
        for scheme in ("1T1R", "2T2R"):
            reader = cell_reader(device, 5e-5, scheme=scheme, options=SensingOptions())
            if scheme == "1T1R":
                check_cells(reader)
            row[scheme] = seconds(partial(_draw, network, reader))
        found["drawing"][family] = row
    few = start_reader(network, images[:FEW], reads=np.arange(FEW), seed=1, threads=1)
    check_reads(few)
    many = start_reader(network, images, reads=np.arange(IMAGES), seed=1, threads=1)
    for rate in RATES:
        errors = Errors(transient=(TransientFlips(rate),))
        fast = seconds(partial(_answer, many.answers, errors))
        slow = seconds(partial(_answer, partial(answers_by_positions, few), errors))
        found["read_errors"][f"{rate:g}"] = {
            "seconds": fast,
            "ratio_to_explicit": slow["median"] / FEW * IMAGES / fast["median"],
        }
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if path is not None:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
