"""An image of 224 x 224 pixels in three colours: equal answers of all engines in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# A process of its own: what pytest holds already would count.
EVALUATION = """
import json, sys
from pathlib import Path
import numpy as np
from bnn.networks.network import ConvLayer, FoldedNetwork, HiddenLayer, OutputLayer
from bnn.engines.packed import packed
from bnn.evaluation.runner import start_runner
from bnn.errors.flips import chip_flips
from bnn.machine.packing import unpack_signs

PIXELS, NEURONS = 3 * 224 * 224, 256
rng = np.random.default_rng(1)

def random_weights(rows, columns):
    words = rng.integers(0, 2**64, (rows, -(-columns // 64)), np.uint64)
    words[:, -1] &= np.uint64(2**64 - 1) >> np.uint64(-columns % 64)
    return words

def random_thresholds(rows, spread):
    threshold = rng.normal(scale=spread, size=rows).astype(np.int32)
    return {"threshold": threshold, "direction": rng.choice(np.array([-1, 1], np.int8), rows)}

def output(columns):
    weights = random_weights(10, columns)
    scale, shift = rng.normal(size=(2, 10))
    return OutputLayer(name="output", columns=columns, weights=weights, scale=scale, shift=shift)

connected = FoldedNetwork((
    HiddenLayer(name="hidden_1", columns=PIXELS, weights=random_weights(NEURONS, PIXELS),
        **random_thresholds(NEURONS, 150 * PIXELS**0.5)),
    output(NEURONS),
))
convolution = FoldedNetwork((
    ConvLayer(name="hidden_1", channels=3, height=224, width=224, pool=2,
        weights=random_weights(16, 27), **random_thresholds(16, 800)),
    output(16 * 112 * 112),
))
image = rng.integers(0, 256, (1, PIXELS), np.uint8)

def answers(network, engine):
    runner = start_runner(engine, network, image, threads=1)
    found = runner.error_free.tolist()
    for chip, ber in enumerate((1e-5, 1e-3, 0.1, 0.3)):
        flips = {
            layer.name: chip_flips(bits=len(layer.weights) * layer.columns, ber=ber, seed=1,
                chip=chip, layer=index)[0]
            for index, layer in enumerate(network.layers)
        }
        found += runner.answers(flips).tolist()
    return found

found = {
    "connected": [answers(connected, engine) for engine in ("packed", "incremental")],
    "convolution": [
        answers(convolution, engine) for engine in ("packed", "incremental", "dense")
    ],
    "sums": packed.pre_activations(connected, packed.prepare(image), threads=1)[0][0].tolist(),
}
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
found["peak_kb"] = int(status["VmHWM"].split()[0])
signs = unpack_signs(connected.layers[0].weights, columns=PIXELS)
encoded = 2 * image[0].astype(np.int64) - 255
found["product"] = [int(row.astype(np.int64) @ encoded) for row in signs]
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak memory")
def test_a_large_image_takes_less_than_2_gb() -> None:
    done = subprocess.run([sys.executable, "-c", EVALUATION], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sums"] == found["product"]
    for kind in ("connected", "convolution"):
        first, *others = found[kind]
        assert all(other == first for other in others)
        assert len(np.unique(first)) > 1
    assert found["peak_kb"] < 2e6, f"{found['peak_kb'] / 1e6:.2f} GB"
