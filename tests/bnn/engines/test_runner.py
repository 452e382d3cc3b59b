"""Chips on every engine: equal integers, whatever the network, the errors and the threads."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnn import FoldedNetwork, ImageSet
from bnn.engines.incremental import further_layer, incremental
from bnn.engines.packed import binary_layer
from bnn.engines.pixels import first_layer, lit_groups, pixel_layer
from bnn.errors.errors import chip_flips
from bnn.evaluation.cost import Workload
from bnn.evaluation.runner import cheapest_engine, memory_bytes, start_runner, with_thresholds
from bnn.machine.packing import pack_bits, unpack_signs
from bnn.networks.network import ALWAYS, NEVER, HiddenLayer, OutputLayer

FAST = ("incremental", "packed")


def network_of(sizes: tuple[int, ...], *, seed: int, spread: float = 1.0) -> FoldedNetwork:
    """Random network whose thresholds lie at ties and where neurons are undecided."""
    rng = np.random.default_rng(seed)
    layers: list[HiddenLayer | OutputLayer] = []
    for index, (columns, rows) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        weights = pack_bits(rng.random((rows, columns)) < 0.5)
        if index == len(sizes) - 2:
            scale = rng.choice(np.array([-0.5, 0.25, 1.0]), rows)
            layers.append(
                OutputLayer(
                    name="output",
                    columns=columns,
                    weights=weights,
                    scale=scale,
                    shift=rng.integers(-2, 3, rows).astype(float),
                )
            )
            continue
        size = spread * np.sqrt(columns) * (150 if index == 0 else 1)
        threshold = np.round(rng.normal(0, size, rows)).astype(np.int32)
        constant = rng.random(rows)
        threshold[constant < 0.05] = ALWAYS
        threshold[constant > 0.95] = NEVER
        layers.append(
            HiddenLayer(
                name=f"hidden_{index + 1}",
                columns=columns,
                weights=weights,
                threshold=threshold,
                direction=rng.choice(np.array([-1, 1], np.int8), rows),
            )
        )
    return FoldedNetwork(tuple(layers))


def chip_of(network: FoldedNetwork, ber: float, chip: int) -> dict[str, np.ndarray]:
    return {
        name: chip_flips(bits=bits, ber=ber, seed=5, chip=chip, layer=index)[0]
        for index, (name, bits) in enumerate(network.weight_bits.items())
    }


def images_of(pixels: int, images: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    dark = rng.random((images, pixels)) < 0.4
    return np.where(dark, 0, rng.integers(0, 256, (images, pixels))).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 150), min_size=2, max_size=5).map(tuple),
    images=st.integers(1, 140),
    ber=st.sampled_from([0.0, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 10**6),
    threads=st.integers(1, 3),
)
@example(sizes=(1, 1, 1), images=1, ber=1.0, seed=0, threads=1)
@example(sizes=(300, 70, 65, 3), images=65, ber=0.4, seed=1, threads=2)
@example(sizes=(64, 128, 64, 2), images=64, ber=0.02, seed=2, threads=1)
def test_engines_give_equal_answers(
    sizes: tuple[int, ...], images: int, ber: float, seed: int, threads: int
) -> None:
    network = network_of(sizes, seed=seed)
    pixels = images_of(sizes[0], images)
    flips = chip_of(network, ber, seed)
    reference = start_runner("dense", network, pixels, threads=1)
    expected = reference.answers(flips)
    for name in FAST:
        if name == "incremental" and not incremental.supports(network):
            continue
        runner = start_runner(name, network, pixels, threads=threads)
        assert runner.engine == name
        np.testing.assert_array_equal(runner.error_free, reference.error_free)
        np.testing.assert_array_equal(runner.answers(flips), expected)


@pytest.mark.parametrize("ber", [1e-4, 1e-3, 5e-3, 0.02, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_chips_of_a_wide_network(ber: float, spread: float) -> None:
    # Wide enough for vectors of all widths, and for sums beyond 8 and 16 bits.
    network = network_of((600, 1100, 530, 300, 20), seed=9, spread=spread)
    pixels = images_of(600, 150)
    runners = [start_runner(name, network, pixels, threads=2) for name in ("dense", *FAST)]
    for chip in range(2):
        flips = chip_of(network, ber, chip)
        dense, *others = (runner.answers(flips) for runner in runners)
        for found in others:
            np.testing.assert_array_equal(found, dense)


@pytest.mark.parametrize(("few", "most"), [(1e9, 0), (1e9, 3), (1e9, 400), (-1.0, 3), (-1.0, 400)])
def test_every_way_of_following_gives_the_same(
    few: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The choice between the ways is one of cost; here it is forced.
    monkeypatch.setattr(further_layer, "MANY_FLIPS", few)
    monkeypatch.setattr(further_layer, "most_followed", lambda *arguments: most)
    network = network_of((90, 600, 600, 70, 5), seed=4, spread=0.5)
    pixels = images_of(90, 130)
    followed = start_runner("incremental", network, pixels, threads=1)
    reference = start_runner("dense", network, pixels, threads=1)
    for chip, ber in enumerate((1e-4, 2e-3, 0.01, 0.06, 0.2, 0.7)):
        flips = chip_of(network, ber, chip)
        np.testing.assert_array_equal(followed.answers(flips), reference.answers(flips))


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("lookups", [False, True])
def test_every_way_of_the_first_layer_gives_the_same(
    anew: bool, lookups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lookups and not lit_groups.AVAILABLE:
        pytest.skip("the processor has no AVX-512BW, which tables in registers take")
    monkeypatch.setattr(lit_groups, "AVAILABLE", lookups)
    monkeypatch.setattr(first_layer, "_anew_is_cheaper", lambda *arguments: anew)
    network = network_of((500, 330, 70, 5), seed=12, spread=0.5)
    # light beyond what 16 bits hold, dark images, and a last block that is not full
    pixels = images_of(500, 130)
    pixels[3], pixels[70] = 255, 0
    reference = start_runner("dense", network, pixels, threads=1)
    runners = [start_runner(name, network, pixels, threads=2) for name in FAST]
    for chip, ber in enumerate((0.0, 1e-4, 0.01, 0.2, 1.0)):
        flips = chip_of(network, ber, chip)
        for runner in runners:
            np.testing.assert_array_equal(runner.answers(flips), reference.answers(flips))


def test_trained_network_keeps_most_answers_for_certain(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    images = digits.test_images
    reference = start_runner("dense", folded_digits, images, threads=1)
    state = incremental.prepare(folded_digits, images, threads=2)
    # three quarters tolerate two changed neurons of the first hidden layer without being looked at
    assert (state.certain.steps[0, : len(images)] >= 2).mean() > 0.75
    for chip in range(20):
        for ber in (1e-4, 1e-3, 0.01):
            flips = chip_of(folded_digits, ber, chip)
            found = incremental.chip_answers(state, flips, threads=1)
            np.testing.assert_array_equal(found, reference.answers(flips))


@pytest.mark.parametrize("ber", [0.0, 1e-3, 0.05, 0.4])
@pytest.mark.parametrize("step", [1, 7, 500])
def test_thresholds_of_a_chip(ber: float, step: int) -> None:
    network = network_of((200, 130, 90, 6), seed=6)
    rng = np.random.default_rng(8)
    thresholds = {}
    for layer in network.layers[:-1]:
        assert isinstance(layer, HiddenLayer)
        moved = layer.threshold.astype(np.int64) + rng.integers(-step, step + 1, layer.outputs)
        constant = rng.random(layer.outputs) < 0.05
        moved = np.where(constant, NEVER, np.clip(moved, ALWAYS, NEVER))
        thresholds[layer.name] = moved.astype(np.int32)
    pixels = images_of(200, 100)
    flips = chip_of(network, ber, 0)
    expected = start_runner("dense", network, pixels, threads=1).answers(
        flips, thresholds=thresholds
    )
    for name in FAST:
        runner = start_runner(name, network, pixels, threads=2)
        np.testing.assert_array_equal(runner.answers(flips, thresholds=thresholds), expected)
    # Control: the thresholds matter.
    assert (expected != start_runner("dense", network, pixels, threads=1).answers(flips)).any()


def test_ties_at_thresholds() -> None:
    # Every neuron has a threshold that some image meets exactly, in both directions.
    rng = np.random.default_rng(10)
    base = network_of((40, 64, 64, 4), seed=10)
    pixels = images_of(40, 64)
    values = 2 * pixels.astype(np.int64) - 255
    layers = []
    for layer in base.layers:
        signs = unpack_signs(layer.weights, columns=layer.columns).astype(np.int64)
        z = values @ signs.T
        if isinstance(layer, HiddenLayer):
            met = layer.direction * z[rng.integers(0, len(z), z.shape[1]), np.arange(z.shape[1])]
            layer = replace(layer, threshold=met.astype(np.int32))
            values = np.where(layer.direction * z >= layer.threshold, 1, -1)
        layers.append(layer)
    network = FoldedNetwork(tuple(layers))
    for ber in (0.0, 0.005, 0.05, 1.0):
        flips = chip_of(network, ber, 1)
        found = [
            start_runner(name, network, pixels, threads=1).answers(flips)
            for name in ("dense", *FAST)
        ]
        np.testing.assert_array_equal(found[1], found[0])
        np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize("columns", [1, 6, 29, 30, 31, 200])
def test_tabulated_sums_of_pixels(columns: int) -> None:
    rng = np.random.default_rng(columns)
    images = rng.integers(0, 256, (70, columns), dtype=np.uint8)
    signs = rng.random((33, columns)) < 0.5
    patterns = pixel_layer.patterns_of(pack_bits(signs), columns)
    blocks = pixel_layer.pixel_blocks(images)
    expected = images.astype(np.int64) @ np.where(signs, 1, -1).T
    tables, short = np.empty(5 * 4096, np.int16), np.empty(33 * 64, np.int16)
    sums = np.empty(33 * 64, np.int32)
    for block in range(2):
        pixel_layer.pixel_sums(blocks.reshape(-1), block, columns, patterns, tables, short, sums)
        here = expected[64 * block : 64 * block + 64]
        np.testing.assert_array_equal(sums.reshape(33, 64)[:, : len(here)].T, here)


def test_limits_follow_the_thresholds() -> None:
    columns = 7
    threshold = np.array([ALWAYS, -7, -3, 0, 1, 2, 7, 8, NEVER], np.int32)
    for sign in (1, -1):
        direction = np.full(len(threshold), sign, np.int8)
        limit, turned = binary_layer.limits_of(threshold, direction, columns=columns)
        opposite = np.unpackbits(turned, bitorder="little")[: len(threshold)].astype(bool)
        for unequal in range(columns + 1):
            fires = sign * (columns - 2 * unequal) >= threshold.astype(np.int64)
            np.testing.assert_array_equal((unequal <= limit[: len(threshold)]) ^ opposite, fires)


def test_choice_of_the_engine() -> None:
    assert cheapest_engine(network_of((5, 4, 3), seed=0)) == "incremental"
    assert cheapest_engine(network_of((5, 3), seed=0)) == "packed"
    runner = start_runner("auto", network_of((5, 4, 3), seed=0), images_of(5, 3), threads=1)
    assert runner.engine == "incremental"


@pytest.mark.parametrize(
    ("workload", "engine"),
    [
        (Workload(1, (1e-4,)), "packed"),
        (Workload(8, (1e-4,)), "incremental"),
        (Workload(8, (0.2,)), "packed"),
        (Workload(100, (0.0, 0.1, 0.5)), "incremental"),
        (Workload(1000, (0.2, 1.0)), "packed"),
        (Workload.of_cases(10, 1), "packed"),
        (Workload.of_cases(10, 3), "incremental"),
    ],
)
def test_a_state_is_computed_only_where_it_pays(workload: Workload, engine: str) -> None:
    assert cheapest_engine(network_of((5, 4, 3), seed=0), workload) == engine


def test_memory_is_that_of_the_arrays() -> None:
    network, images = network_of((784, 300, 200, 10), seed=0), 1000
    state = incremental.prepare(network, images_of(784, images), threads=1)
    first = state.front
    assert isinstance(first, first_layer.FirstLayer)
    held = [first.state.pixels, first.state.ceiling, first.state.fired, first.bits, *state.certain]
    held += [getattr(layer, n) for layer in state.further for n in ("by_input", "ceiling", "fired")]
    if first.lit is not None:
        held += [first.lit.group, first.lit.pixels]
    total = sum(array.nbytes for array in held)
    said = memory_bytes("incremental", network, images)
    assert total <= said <= 1.2 * total


def test_wrong_input_is_refused() -> None:
    network = network_of((5, 4, 3), seed=0)
    with pytest.raises(ValueError, match="unknown engine 'sparse'; known: auto, incremental"):
        start_runner("sparse", network, images_of(5, 2), threads=1)
    with pytest.raises(ValueError, match="reads 5 pixels"):
        start_runner("incremental", network, images_of(6, 2), threads=1)
    with pytest.raises(ValueError, match="networks with a hidden layer"):
        start_runner("incremental", network_of((5, 3), seed=0), images_of(5, 2), threads=1)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        start_runner("incremental", network, images_of(5, 2), threads=0)
    runner = start_runner("incremental", network, images_of(5, 2), threads=1)
    with pytest.raises(ValueError, match="flips names unknown layers 'hidden_9'"):
        runner.answers({"hidden_9": np.array([0])})
    for bad in ([-1], [20], [3, 3], [4, 2]):
        with pytest.raises(ValueError, match=r"layer 'hidden_1' must lie in 0..19 and strictly"):
            runner.answers({"hidden_1": np.array(bad)})
    for thresholds, problem in (
        ({"output": np.zeros(3, np.int32)}, "output layer"),
        ({"hidden_9": np.zeros(4, np.int32)}, "unknown layers 'hidden_9'"),
        ({"hidden_1": np.zeros(5, np.int32)}, "hidden_1"),
    ):
        with pytest.raises(ValueError, match=problem):
            runner.answers({}, thresholds=thresholds)
    with pytest.raises(ValueError, match="output layer"):
        with_thresholds(network, {"output": np.zeros(3, np.int32)})
