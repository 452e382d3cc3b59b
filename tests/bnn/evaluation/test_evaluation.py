from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bnn import Flips, FoldedNetwork, ImageSet, LineFaults, StuckAt, evaluate, evaluate_errors
from bnn.errors.errors import Errors, chip_flips
from bnn.evaluation.evaluation import combine, images_at_once
from bnn.evaluation.runner import memory_bytes
from bnn.networks.network import HiddenLayer, layer_signs, network_sha256

Make = Callable[..., FoldedNetwork]
RATES = [0.0, 1e-3, 0.02, 0.2, 1.0]


@pytest.fixture(scope="module")
def counts(folded_digits: FoldedNetwork, digits: ImageSet) -> xr.Dataset:
    return evaluate(
        folded_digits, digits.test_images, digits.test_labels, ber=RATES, chips=6, seed=11
    )


def small(random_network: Make, **changes: Any) -> xr.Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 9), dtype=np.uint8)
    options = {"ber": [0.05, 0.3], "chips": 3, "seed": 0, "threads": 1, **changes}
    network = random_network((9, 8, 3), seed=options.pop("network_seed", 0))
    labels = options.pop("labels", rng.integers(0, 3, 50))
    return evaluate(network, options.pop("images", images), labels, **options)


def test_layout(counts: xr.Dataset, folded_digits: FoldedNetwork) -> None:
    assert dict(counts.sizes) == {"ber": 5, "chip": 6}
    assert counts["ber"].values.tolist() == RATES
    assert counts["chip"].values.tolist() == list(range(6))
    assert set(counts.data_vars) == {"correct", "changed", "lost", "gained", "flips"}
    for variable in counts.data_vars.values():
        assert variable.dtype == np.int64
        assert variable.attrs["units"] == "1"
    assert set(counts.attrs) == {
        "images",
        "error_free_correct",
        "images_sha256",
        "seed",
        "weights",
        "protected",
        "network_sha256",
    }
    assert counts.attrs["images"] == 600
    assert counts.attrs["weights"] == 64 * 130 + 130 * 100 + 100 * 10
    assert counts.attrs["network_sha256"] == network_sha256(folded_digits)


def test_counts_hang_together(counts: xr.Dataset) -> None:
    images, error_free = counts.attrs["images"], counts.attrs["error_free_correct"]
    assert ((counts.correct >= 0) & (counts.correct <= images)).all()
    xr.testing.assert_equal(counts.correct, error_free - counts.lost + counts.gained)
    assert (counts.changed >= counts.lost + counts.gained).all()
    assert (counts.changed <= images).all()
    assert (counts.flips.diff("ber") > 0).all()
    assert (counts.flips.sel(ber=0.0) == 0).all()
    assert (counts.changed.sel(ber=0.0) == 0).all()
    assert (counts.correct.sel(ber=0.0) == error_free).all()
    assert (counts.flips.sel(ber=1.0) == counts.attrs["weights"]).all()
    # well above 95 % without errors, near chance with a fifth of the bits wrong
    assert 570 < error_free <= 600
    assert (counts.correct.sel(ber=0.2) < 450).all()
    # 22,320 bits, 4464 +- 59.8 flips, z = 5
    assert (abs(counts.flips.sel(ber=0.2) - 4464) < 299).all()


def test_counts_equal_brute_force(
    counts: xr.Dataset, folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    def answers(flips: list[np.ndarray]) -> np.ndarray:
        values = 2 * digits.test_images.astype(np.int64) - 255
        for layer, wrong in zip(folded_digits.layers, flips, strict=True):
            signs = layer_signs(layer).astype(np.int64)
            signs.reshape(-1)[wrong] *= -1
            z = values @ signs.T
            if isinstance(layer, HiddenLayer):
                values = np.where(layer.direction * z >= layer.threshold, 1, -1)
        return np.argmax(z * layer.scale + layer.shift, axis=1)  # type: ignore[union-attr]

    labels = digits.test_labels
    reference = answers([np.empty(0, np.int64)] * 3)
    assert counts.attrs["error_free_correct"] == (reference == labels).sum()
    for ber in (0.02, 0.2):
        for chip in (0, 5):
            bits = folded_digits.weight_bits.values()
            flips = [
                chip_flips(bits=n, ber=ber, seed=11, chip=chip, layer=index)[0]
                for index, n in enumerate(bits)
            ]
            now = answers(flips)
            found = {name: int(v) for name, v in counts.sel(ber=ber, chip=chip).data_vars.items()}
            assert found == {
                "correct": (now == labels).sum(),
                "changed": (now != reference).sum(),
                "lost": ((reference == labels) & (now != labels)).sum(),
                "gained": ((reference != labels) & (now == labels)).sum(),
                "flips": sum(map(len, flips)),
            }


@pytest.mark.parametrize("changes", [{"engine": "dense"}, {"threads": 1}, {"threads": 3}])
def test_engine_and_threads_leave_no_trace(
    changes: dict, counts: xr.Dataset, folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    images, labels = digits.test_images, digits.test_labels
    other = evaluate(folded_digits, images, labels, ber=RATES, chips=6, seed=11, **changes)
    xr.testing.assert_identical(counts, other)


def test_a_rate_gives_the_same_on_any_grid(random_network: Make) -> None:
    grid = small(random_network, ber=[0.001, 0.05, 0.3, 0.9])
    single = small(random_network, ber=[0.05])
    xr.testing.assert_identical(grid.isel(ber=[1]), single)


def test_chips_can_be_added_later(random_network: Make) -> None:
    whole = small(random_network, chips=5)
    first, rest = small(random_network, chips=2), small(random_network, chips=3, first_chip=2)
    assert rest["chip"].values.tolist() == [2, 3, 4]
    joined = combine(rest, first)
    xr.testing.assert_identical(joined, whole)
    for name in whole.variables:
        assert joined[name].values.tobytes() == whole[name].values.tobytes()
    xr.testing.assert_identical(combine(whole), whole)


def test_counts_survive_a_file(random_network: Make, tmp_path: Any) -> None:
    first = small(random_network, protected=frozenset({"output"}))
    first.to_netcdf(tmp_path / "counts.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "counts.nc", engine="h5netcdf") as opened:
        again = opened.load()
    second = small(random_network, first_chip=3, protected=frozenset({"output"}))
    whole = small(random_network, chips=6, protected=frozenset({"output"}))
    xr.testing.assert_equal(combine(again, second), whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed is 1 instead of 0"),
        ({"network_seed": 1}, "network_sha256 is"),
        ({"protected": frozenset({"output"})}, "protected is 'output' instead of ''"),
        ({"ber": [0.05, 0.31]}, r"ber is \[0.05, 0.31\] instead of \[0.05, 0.3\]"),
        ({"images": np.zeros((50, 9), np.uint8), "labels": np.zeros(50, int)}, "cannot be joined"),
        ({"first_chip": 2}, r"chips \[2\] occur more than once"),
    ],
)
def test_unlike_counts_are_not_joined(
    changes: dict[str, Any], message: str, random_network: Make
) -> None:
    first, other = small(random_network), small(random_network, **{"first_chip": 3, **changes})
    with pytest.raises(ValueError, match=message):
        combine(first, other)


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="at least one dataset"):
        combine()


def test_protected_layers_stay_exact(random_network: Make) -> None:
    names = ("hidden_1", "output")
    free = small(random_network, ber=[1.0])
    assert free.flips.values.tolist() == [[96, 96, 96]]
    for name, bits in zip(names, (24, 72), strict=True):
        part = small(random_network, ber=[1.0], protected=frozenset({name}))
        assert part.attrs["weights"] == bits
        assert part.attrs["protected"] == name
        assert part.flips.values.tolist() == [[bits] * 3]
    nothing = small(random_network, ber=[0.3], protected=frozenset(names))
    assert nothing.attrs["weights"] == 0
    assert nothing.attrs["protected"] == "hidden_1,output"
    assert (nothing.changed == 0).all()


def test_protection_does_not_move_the_errors_of_other_layers(random_network: Make) -> None:
    both = small(random_network).flips
    parts = [small(random_network, protected=frozenset({n})).flips for n in ("hidden_1", "output")]
    xr.testing.assert_equal(both, parts[0] + parts[1])


def test_errors_hit_layers_in_proportion_to_their_size(random_network: Make) -> None:
    # the fault of peers: choose a layer first, then a weight
    hits = {
        name: int(
            small(random_network, chips=400, ber=[0.05], protected=frozenset({name})).flips.sum()
        )
        for name in ("hidden_1", "output")
    }
    # 400 chips of 24 and of 72 bits: 480 +- 21.4 and 1440 +- 37.0 flips, z = 4.5
    assert abs(hits["hidden_1"] - 480) < 97
    assert abs(hits["output"] - 1440) < 167


def test_progress_is_told(random_network: Make) -> None:
    calls: list[tuple[int, int]] = []
    small(random_network, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ber": []}, "at least one bit error rate"),
        ({"ber": [0.1, 0.1]}, r"strictly increasing, got 0.1 after 0.1 at index 1"),
        ({"ber": [0.0, 0.2, 0.1]}, r"got 0.1 after 0.2 at index 2"),
        ({"ber": [0.1, 1.5]}, "ber must be a fraction between 0 and 1, got 1.5"),
        ({"ber": [float("nan")]}, "ber must be a fraction between 0 and 1, got nan"),
        ({"chips": 0}, "chips must be at least 1, got 0"),
        ({"first_chip": -1}, "first_chip must be at least 0, got -1"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"engine": "fast"}, "unknown engine 'fast'"),
        ({"protected": frozenset({"first"})}, r"'first'; this network has 'hidden_1', 'output'"),
        ({"protected": "output"}, "unknown layers|frozenset of layer names"),
        ({"images": np.zeros((50, 8), np.uint8)}, r"shape \(images, 9\)"),
        ({"images": np.zeros((50, 9))}, "images must be uint8"),
        ({"images": np.zeros((0, 9), np.uint8), "labels": np.zeros(0, int)}, "at least one image"),
        ({"labels": np.zeros(49, int)}, r"labels must be integers with the shape \(50,\)"),
        ({"labels": np.zeros(50)}, "labels must be integers"),
        ({"labels": np.arange(50)}, r"labels must lie in 0\.\.2, got 3 at index 3"),
    ],
)
def test_bad_arguments_are_refused(
    changes: dict[str, Any], message: str, random_network: Make
) -> None:
    with pytest.raises(ValueError, match=message):
        small(random_network, **changes)


def test_images_in_parts_give_the_same_counts(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    # Memory for a part of the images only; the counts of the parts are added.
    images, labels = digits.test_images, digits.test_labels
    options = {"ber": [0.0, 0.01, 0.1], "chips": 3, "seed": 5, "threads": 1}
    whole = evaluate(folded_digits, images, labels, **options)
    steps: list[tuple[int, int]] = []
    for engine in ("incremental", "packed"):
        least = memory_bytes(engine, folded_digits, 64)
        parts = evaluate(
            folded_digits,
            images,
            labels,
            engine=engine,
            memory=2 * least,
            progress=lambda done, of: steps.append((done, of)),
            **options,
        )
        xr.testing.assert_identical(parts, whole)
        step = images_at_once(folded_digits, len(images), engine=engine, memory=2 * least)
        assert 64 <= step < len(images)
        assert memory_bytes(engine, folded_digits, step) <= 2 * least
        assert memory_bytes(engine, folded_digits, step + 64) > 2 * least
        assert steps[-1] == (3 * -(-len(images) // step),) * 2
        steps.clear()
    with pytest.raises(ValueError, match="allow more or take the dense engine"):
        evaluate(folded_digits, images, labels, memory=10, **options)


def test_flips_as_errors_are_those_of_a_rate(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    images, labels = digits.test_images[:200], digits.test_labels[:200]
    rates = [0.005, 0.08]
    by_rate = evaluate(folded_digits, images, labels, ber=rates, chips=2, seed=5)
    cases = [Errors(persistent=(Flips.symmetric(rate),)) for rate in rates]
    found = evaluate_errors(folded_digits, images, labels, errors=cases, chips=2, seed=5)
    for name in by_rate.data_vars:
        np.testing.assert_array_equal(found[name], by_rate[name])


def test_all_cells_stuck_at_their_bit_change_nothing(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    images, labels = digits.test_images[:100], digits.test_labels[:100]
    stuck = Errors(persistent=(StuckAt(zero=0.5, one=0.5),))
    lines = Errors(persistent=(LineFaults("row", 1.0),))
    found = evaluate_errors(
        folded_digits, images, labels, errors=[Errors(), stuck, lines], chips=1, seed=2
    )
    bits = sum(folded_digits.weight_bits.values())
    flips = found["flips"].values[:, 0]
    assert flips[0] == 0
    assert found["changed"].values[0, 0] == 0
    # Every cell is stuck, half of them at the wrong bit; z = 4.
    assert abs(flips[1] - bits / 2) < 4 * np.sqrt(bits / 4)
    assert flips[2] == bits
