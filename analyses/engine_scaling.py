"""How does the time of an evaluation grow with chips, images, width and bit error rate?

Question
    With which power of the number of chips, of images, of neurons per layer and of the bit error
    rate grows the time of each engine?

Inputs
    MNIST test images; the trained network 784-1024-1024-10 of the zoo, ``mnist-standard``, and
    untrained networks of other widths (their changes spread as far as can be).

Seed
    20190407 for chips and untrained networks.

Outputs
    ``analyses/results/engine_scaling/scaling.json``: seconds for every point (smallest of the
    repeats; drawing of errors included, the error-free state only in the part about chips) and the
    fitted exponents; ``scaling.png``: the figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnn import FoldedNetwork, fold, load_images, load_zoo
from bnn.errors.errors import chip_flips
from bnn.evaluation.runner import Runner, start_runner
from bnn.training.architectures import BinaryMLP

HERE = Path(__file__).resolve().parent
NETWORK = "mnist-standard"
SEED = 20190407
ENGINES = ("dense", "packed", "incremental")
RATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2)
FEW, MANY = 1e-4, 0.05
"""Error rates of the parts that vary something else."""

Record = dict[str, Any]


def chips_in_turn(
    runner: Runner, network: FoldedNetwork, ber: float, chips: int, threads: int
) -> None:
    """Draw and evaluate chips one after the other."""
    for chip in range(chips):
        runner.answers(
            {
                name: chip_flips(
                    bits=bits, ber=ber, seed=SEED, chip=chip, layer=index, threads=threads
                )[0]
                for index, (name, bits) in enumerate(network.weight_bits.items())
            }
        )


def smallest(call: Callable[[], Any], repeats: int) -> float:
    """Smallest of some wall times, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def per_chip(
    engine: str,
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    ber: float,
    *,
    threads: int,
    chips: int = 3,
    repeats: int = 3,
) -> float:
    """Seconds of a chip; the error-free state is there already."""
    runner = start_runner(engine, network, images, threads=threads)
    chips_in_turn(runner, network, ber, 1, threads)
    chips = 1 if engine == "dense" else chips
    return smallest(lambda: chips_in_turn(runner, network, ber, chips, threads), repeats) / chips


def measure(images: npt.NDArray[np.uint8], threads: int) -> list[Record]:
    """Seconds over each of the four quantities."""
    network, _ = load_zoo(NETWORK)
    records: list[Record] = []

    def keep(part: str, engine: str, ber: float, x: float, seconds: float) -> None:
        records.append({"part": part, "engine": engine, "ber": ber, "x": x, "seconds": seconds})
        print(json.dumps(records[-1]), flush=True)

    for engine in ENGINES:
        for ber in RATES:
            keep("ber", engine, ber, ber, per_chip(engine, network, images, ber, threads=threads))
        for ber in (FEW, MANY):
            for number in (500, 1000, 2000, 5000, 10_000):
                seconds = per_chip(engine, network, images[:number], ber, threads=threads)
                keep("images", engine, ber, number, seconds)
            for width in (128, 256, 512, 1024, 2048):
                wide = fold(BinaryMLP((784, width, width, 10), seed=SEED).eval())
                seconds = per_chip(engine, wide, images[:5000], ber, threads=threads)
                keep("width", engine, ber, width, seconds)
            for chips in (1, 3, 10, 30, 100) if engine != "dense" else (1, 3, 10):

                def whole(engine: str = engine, ber: float = ber, chips: int = chips) -> None:
                    runner = start_runner(engine, network, images, threads=threads)
                    chips_in_turn(runner, network, ber, chips, threads)

                keep("chips", engine, ber, chips, smallest(whole, 1))
    return records


def exponents(records: list[Record]) -> list[Record]:
    """Least-squares slopes of ln(seconds) over ln(x), with standard errors.

    The time of chips starts with the error-free state, so that part is fitted over its upper half.
    """
    fits = []
    keys = dict.fromkeys(
        (r["part"], r["engine"], None if r["part"] == "ber" else r["ber"]) for r in records
    )
    for part, engine, ber in keys:
        points = [
            (r["x"], r["seconds"])
            for r in records
            if r["part"] == part and r["engine"] == engine and ber in (None, r["ber"])
        ]
        if part == "chips":
            points = points[len(points) // 2 :] if len(points) > 3 else points
        x, y = np.log(np.array(points)).T
        centred = x - x.mean()
        slope = float(centred @ y / (centred @ centred))
        rest = y - y.mean() - slope * centred
        freedom = len(x) - 2
        error = float(np.sqrt(rest @ rest / freedom / (centred @ centred))) if freedom else None
        fits.append(
            {"part": part, "engine": engine, "ber": ber, "exponent": slope, "standard_error": error}
        )
    return fits


def draw(records: list[Record], fits: list[Record], path: Path) -> None:
    """Four panels of seconds, one for each quantity."""
    palette = dict(zip(ENGINES, sns.color_palette("colorblind"), strict=False))
    names = {
        "ber": "bit error rate",
        "images": "images",
        "width": "neurons of both hidden layers (5,000 images, untrained)",
        "chips": "chips, error-free state included",
    }
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    for axes, (part, label) in zip(figure.subplots(2, 2).flat, names.items(), strict=True):
        powers: dict[str, list[str]] = {engine: [] for engine in ENGINES}
        for fit in (f for f in fits if f["part"] == part):
            engine, ber = fit["engine"], fit["ber"]
            points = [
                (r["x"], 1e3 * r["seconds"])
                for r in records
                if r["part"] == part and r["engine"] == engine and ber in (None, r["ber"])
            ]
            style = "--" if ber == FEW else "-"
            axes.plot(
                *zip(*points, strict=True), style, marker="o", markersize=4, color=palette[engine]
            )
            powers[engine].append(f"{fit['exponent']:.2f}")
        said = ", ".join(f"{engine} {' / '.join(values)}" for engine, values in powers.items())
        axes.set_title(f"time grows with the power\n{said}", fontsize=9, loc="left")
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="milliseconds")
        axes.grid(visible=True, which="major", linewidth=0.5)
        if part in ("images", "width"):
            ticks = sorted({r["x"] for r in records if r["part"] == part})
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.set_xticks([], minor=True)
    handles = [Line2D([], [], color=palette[engine], label=engine) for engine in ENGINES]
    handles += [
        Line2D([], [], color="0.4", linestyle=style, label=f"BER {ber:g}")
        for ber, style in ((FEW, "--"), (MANY, "-"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> int:
    """Measure and draw; with ``--draw`` the figure is drawn again from the stored times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--images-dir", type=Path, default=HERE.parent.parent / "shared/data/images"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results/engine_scaling")
    parser.add_argument("--draw", action="store_true", help="draw only")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    stored = arguments.out / "scaling.json"
    if arguments.draw:
        records = json.loads(stored.read_text(encoding="utf-8"))["records"]
    else:
        images = load_images("mnist", images_dir=arguments.images_dir).test_images
        records = measure(images, arguments.threads)
    fits = exponents(records)
    found = {"threads": arguments.threads, "exponents": fits, "records": records}
    stored.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(records, fits, arguments.out / "scaling.png")
    for fit in fits:
        print(json.dumps(fit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
