"""How much faster are the engines than dense PyTorch on chips with errors, and are they equal?

One chip at a time, the drawing of its errors included. The answers of every engine are compared
with those of the dense float32 engine first; then the engines take turns, each with a few chips
after each other as a user evaluates them, and each ratio is of one chip in one run. ``int8`` is the
best exact alternative that PyTorch has: products of 8-bit integers. The error-free state of the
incremental engine is computed once for all chips and stated apart.

Besides the two networks of the promises, a grid of networks shows whether the automatic choice is
the best one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bnn import FoldedNetwork, fold, load_images, load_zoo
from bnn.engines.dense import dense
from bnn.engines.incremental import incremental
from bnn.errors.errors import chip_flips
from bnn.evaluation.runner import memory_bytes, start_runner
from bnn.images.sets import ImagesNotFoundError
from bnn.machine.threads import torch_threads
from bnn.networks.network import ConvLayer, Layer, OutputLayer, flip_weights, layer_signs
from bnn.training.architectures import BinaryConvNet, BinaryMLP
from devicefit.sampling.diagnostics import versions

ROOT = Path(__file__).resolve().parents[1]
NETWORK = "mnist-standard"
RATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2)
GRID = (1e-5, 1e-3, 1e-2, 0.1)
CONVOLUTIONS = "CIFAR-10 convolutions 128-128-256-256-512-512, 1024-1024-10, untrained"
ENGINES = ("packed", "incremental", "auto")
SEED = 20190407

Job = tuple[str, FoldedNetwork, npt.NDArray[np.uint8], tuple[float, ...], int, int]
"""Name, network, images, bit error rates, rounds, and chips after each other in a round."""

Flips = dict[str, npt.NDArray[np.int64]]


def draw(network: FoldedNetwork, ber: float, chip: int, threads: int) -> Flips:
    """Wrong bits of a chip."""
    return {
        name: chip_flips(bits=bits, ber=ber, seed=SEED, chip=chip, layer=index, threads=threads)[0]
        for index, (name, bits) in enumerate(network.weight_bits.items())
    }


def int8_predictor(
    images: npt.NDArray[np.uint8], threads: int
) -> Callable[[FoldedNetwork], npt.NDArray[np.int64]]:
    """Answers by 8-bit integer products of PyTorch, exact; convolutions by products of patches."""
    # 2 p - 255 = 2 (p - 128) + 1
    centred = torch.from_numpy((images.astype(np.int16) - 128).astype(np.int8))

    def predict(network: FoldedNetwork) -> npt.NDArray[np.int64]:
        convolutions = isinstance(network.layers[0], ConvLayer)
        block = 50 if convolutions else 2500
        answers = []
        with torch_threads(threads), torch.inference_mode():
            signs = [torch.from_numpy(layer_signs(part)).T.contiguous() for part in network.layers]
            for start in range(0, len(centred), block):
                values = centred[start : start + block]
                first = network.layers[0]
                if isinstance(first, ConvLayer):
                    maps = values.reshape(-1, first.channels, first.height, first.width)
                    values = maps.permute(0, 2, 3, 1)
                for index, (layer, weight) in enumerate(zip(network.layers, signs, strict=True)):
                    z = _int8_sums(layer, weight, values)
                    if index == 0:
                        # ones where a pixel is: outside the map an encoded pixel counts nothing
                        z = z.mul_(2).add_(_int8_sums(layer, weight, torch.ones_like(values[:1])))
                    if isinstance(layer, OutputLayer):
                        scores = z.numpy() * layer.scale + layer.shift
                        answers.append(np.argmax(scores, axis=1))
                        continue
                    if isinstance(layer, ConvLayer) and layer.pool == 2:
                        z = z.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).amax(dim=(2, 4))
                    direction = torch.from_numpy(layer.direction.astype(np.int32))
                    threshold = torch.from_numpy(layer.threshold.copy())
                    values = (z.mul_(direction) >= threshold).to(torch.int8).mul_(2).sub_(1)
        return np.concatenate(answers)

    return predict


def _int8_sums(layer: Layer, weight: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Pre-activations; maps with the channel last."""
    if not isinstance(layer, ConvLayer):
        return torch._int_mm(values.flatten(1), weight)
    half = layer.kernel // 2
    padded = torch.nn.functional.pad(values, (0, 0, half, half, half, half))
    patches = padded.unfold(1, layer.kernel, 1).unfold(2, layer.kernel, 1)
    flat = patches.permute(0, 1, 2, 4, 5, 3).reshape(-1, layer.columns)
    # products of 8-bit integers want inner sizes that are multiples of eight
    spare = -layer.columns % 8
    flat = torch.nn.functional.pad(flat, (0, spare))
    weight = torch.nn.functional.pad(weight, (0, 0, 0, spare))
    return torch._int_mm(flat, weight).unflatten(0, values.shape[:3])


def measure(
    name: str,
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    rates: tuple[float, ...],
    *,
    threads: int,
    rounds: int,
    together: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Records of one network, and what its state costs.

    Every round, an engine runs `together` chips after each other.
    """
    prepared = dense.prepare(images)
    int8 = int8_predictor(images, threads)
    runners, setup = {}, {}
    for engine in ENGINES:
        if engine == "incremental" and not incremental.supports(network):
            continue
        start_runner(engine, network, images[:128], threads=threads)  # compiles
        began = time.perf_counter()
        runners[engine] = start_runner(engine, network, images, threads=threads)
        setup[engine] = {
            "seconds": round(time.perf_counter() - began, 4),
            "state_bytes": memory_bytes(engine, network, len(images)),
            "runs": runners[engine].engine,
        }

    def float32(ber: float, chip: int) -> npt.NDArray[np.int64]:
        return dense.predict(
            flip_weights(network, draw(network, ber, chip, threads)), prepared, threads=threads
        )

    def by_int8(ber: float, chip: int) -> npt.NDArray[np.int64]:
        return int8(flip_weights(network, draw(network, ber, chip, threads)))

    calls: dict[str, Callable[[float, int], npt.NDArray[np.int64]]] = {
        "float32": float32,
        "int8": by_int8,
    }
    for engine, runner in runners.items():
        calls[engine] = lambda ber, chip, runner=runner: runner.answers(  # type: ignore[misc]
            draw(network, ber, chip, threads)
        )
    records = []
    for ber in rates:
        expected = float32(ber, 0)
        equal = {c: bool(np.array_equal(call(ber, 0), expected)) for c, call in calls.items()}
        seconds: dict[str, list[float]] = {c: [] for c in calls}
        for turn in range(rounds):
            for c, call in calls.items():
                for chip in range(turn * together, (turn + 1) * together):
                    began = time.perf_counter()
                    call(ber, chip)
                    seconds[c].append(time.perf_counter() - began)
        fastest = min(statistics.median(seconds[c]) for c in ("float32", *runners))
        for c in calls:
            ratios = {
                base: [b / own for b, own in zip(seconds[base], seconds[c], strict=True)]
                for base in ("float32", "int8")
            }
            records.append(
                {
                    "network": name,
                    "images": len(images),
                    "ber": ber,
                    "engine": c,
                    "seconds": statistics.median(seconds[c]),
                    "ratio_to_float32": statistics.median(ratios["float32"]),
                    "ratio_to_float32_range": [min(ratios["float32"]), max(ratios["float32"])],
                    "ratio_to_int8": statistics.median(ratios["int8"]),
                    "times_fastest_engine": statistics.median(seconds[c]) / fastest,
                    "equal": equal[c],
                }
            )
            print(json.dumps(records[-1]), flush=True)
    return records, setup


def random_network(sizes: tuple[int, ...]) -> FoldedNetwork:
    """Untrained network with thresholds in the middle of its pre-activations."""
    return fold(BinaryMLP(sizes, seed=SEED).eval())


def images_of(
    name: str, images_dir: Path, number: int, pixels: int
) -> tuple[npt.NDArray[np.uint8], str]:
    """Test images of a set and a remark; random ones, a fifth of the pixels lit, without it."""
    try:
        return load_images(name, images_dir=images_dir).test_images[:number], ""
    except ImagesNotFoundError:
        print(f"{name} was not found; random images stand in, which changes how often neurons flip")
        rng = np.random.default_rng(SEED)
        dark = rng.random((number, pixels)) < 0.8
        images = np.where(dark, 0, rng.integers(0, 256, dark.shape)).astype(np.uint8)
        return images, ", random images"


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="file to write: list of records")
    parser.add_argument("--quick", action="store_true", help="fewer networks, rates and chips")
    parser.add_argument(
        "--grid", action="store_true", help="the grid alone; other records of the file are kept"
    )
    parser.add_argument("--images-dir", type=Path, default=ROOT.parent / "shared/data/images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=10_000, help="MNIST test images")
    arguments = parser.parse_args()
    quick, where = arguments.quick, arguments.images_dir
    mnist, remark = images_of("mnist", where, arguments.images, 784)
    cifar, cifar_remark = images_of("cifar-10", where, 250 if quick else 1000, 3072)
    network, _ = load_zoo(NETWORK)
    # The time of a convolution hardly depends on what its weights were trained for, but for how
    # far changes spread: in an untrained network as far as can be.
    convolutions = fold(BinaryConvNet((3, 32, 32), seed=SEED).eval())
    promised: list[Job] = [
        ("-".join(map(str, network.sizes)) + remark, network, mnist, RATES, 3, 5),
        (CONVOLUTIONS + cifar_remark, convolutions, cifar, RATES, 3, 1),
    ]
    jobs = [] if arguments.grid else promised
    if quick:
        few = (1e-6, 1e-4, 1e-2, 0.2)
        jobs = [(*promised[0][:3], few, 1, 3), (*promised[1][:3], few[::3], 1, 1)]
    else:
        digits = load_images("digits").test_images
        for sizes, images in (
            ((784, 10), mnist),
            ((784, 1024, 10), mnist),
            ((784, 256, 256, 256, 10), mnist),
            ((784, 2048, 2048, 10), mnist[:2000]),
            ((3072, 512, 512, 10), cifar),
            ((64, 130, 100, 10), digits),
        ):
            name = "-".join(map(str, sizes)) + ", untrained"
            jobs.append((name, random_network(sizes), images, GRID, 2, 3))
        narrow = fold(BinaryConvNet((3, 32, 32), width=0.25, seed=SEED).eval())
        jobs.append((f"a quarter of {CONVOLUTIONS}", narrow, cifar[:200], GRID, 2, 1))
    records: list[dict[str, Any]] = []
    if arguments.grid and arguments.json.exists():
        kept = json.loads(arguments.json.read_text(encoding="utf-8"))
        records = [r for r in kept if r["network"] in {name for name, *_ in promised}]
    about: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": arguments.threads,
        "versions": versions(),
    }
    for name, of, images, rates, rounds, together in jobs:
        found, about[f"preparing {name}"] = measure(
            name, of, images, rates, threads=arguments.threads, rounds=rounds, together=together
        )
        records += found
        arguments.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(about))
    return 0 if all(record["equal"] for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
