"""Grids of training and test error rates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bnn
from bnn.calibration.treatments import FIXED, PER_CHIP
from bnn.networks.network import network_sha256
from reliability.networks.grid import GridOptions, TrainingRates
from reliability.report.figures.grid import draw_grid

SMALL = ("grid", "--hidden", "16", "--epochs", 2, "--chips", 3, "--threads", 1, "--quiet")
TRAININGS = ("--train-ber", "0.05", "--train-ber", "0:0.1")
CELLS = ("--ber", 0.0, "--ber", 0.1, "--thresholds", "fixed", "--thresholds", "calibrated")


@pytest.mark.parametrize(
    ("text", "rates", "name"),
    [("0", TrainingRates(0.0), "0"), ("0.01:0.1", TrainingRates(0.1, 0.01), "0.01-0.1")],
)
def test_rates_of_a_training_are_read(text: str, rates: TrainingRates, name: str) -> None:
    assert TrainingRates.parse(text) == rates
    assert rates.name == name


@pytest.mark.parametrize("text", ["", "high", "0.1:0.2:0.3", "0.6", "0.1:0.1", "-0.1:0.1", "nan"])
def test_other_texts_are_no_rates_of_a_training(text: str) -> None:
    with pytest.raises(ValueError, match="training rate"):
        TrainingRates.parse(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainings": ()}, "at least one"),
        ({"trainings": (TrainingRates(0.1), TrainingRates(0.1))}, "once"),
        ({"rates": (0.1, 0.1)}, "once"),
        ({"rates": (0.6,)}, "0 to 0.5"),
    ],
)
def test_grids_without_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GridOptions(**{"trainings": (TrainingRates(0.0),), **changes})


def test_a_grid_holds_the_counts_of_each_network_by_itself(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    found = call(*SMALL, *TRAININGS, *CELLS, "--out", "first", "--checkpoints", "states")
    assert found.returncode == 0, found.stderr
    grid = xr.load_dataset(tmp_path / "first" / "grid.nc", engine="h5netcdf")
    assert dict(grid.sizes) == {"training": 2, "treatment": 2, "ber": 2, "chip": 3}

    images = bnn.load_images("digits")
    options = bnn.TrainingOptions(hidden=(16,), epochs=2, ber=0.1, ber_from=0.0, seed=1)
    network = bnn.fold(bnn.train(images, options).module)
    assert str(grid["sha256"].sel(training="0-0.1").item()) == network_sha256(network)
    data = (images.test_images, images.test_labels)
    alone = bnn.evaluate(network, *data, ber=[0.0, 0.1], chips=3, seed=1)
    cell = grid["correct"].sel(training="0-0.1", treatment=FIXED)
    np.testing.assert_array_equal(cell.values, alone["correct"].values)
    reference = bnn.calibration_reference(
        network, images.train_images[np.random.default_rng(1).permutation(len(images.train_images))]
    )
    treated = bnn.evaluate_calibrated(reference, *data, ber=[0.0, 0.1], chips=3, seed=1)
    cell = grid["correct"].sel(training="0-0.1", treatment=PER_CHIP)
    np.testing.assert_array_equal(cell.values, treated["correct"].values)

    # the table says the same, and finished trainings are taken from their checkpoints
    table = pd.read_csv(tmp_path / "first" / "grid.csv")
    order = ["training", "treatment", "ber", "chip"]
    assert table["correct"].tolist() == grid["correct"].transpose(*order).values.ravel().tolist()
    again = call(*SMALL, *TRAININGS, *CELLS, "--out", "second", "--checkpoints", "states")
    assert again.returncode == 0, again.stderr
    for name in ("grid.csv", "grid.png"):
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()


def test_wrong_use_says_what_to_do(tmp_path: Path, call: Callable[..., Any]) -> None:
    for arguments, words in (
        (("--train-ber", "much"), "give one like 0.04 or 0:0.15"),
        (("--thresholds", "best"), "known: fixed, folded, calibrated"),
        (("--ber", 0.7), "from 0 to 0.5"),
    ):
        found = call(*SMALL, *arguments, "--out", "none")
        assert found.returncode == 2
        assert words in " ".join(found.stderr.split())
    assert not (tmp_path / "none").exists()


def test_the_figure_names_mean_and_spread_of_every_cell() -> None:
    correct = np.full((2, 1, 2, 4), 50)
    correct[1, 0, 1] = [10, 20, 30, 40]
    grid = xr.Dataset(
        {"correct": (("training", "treatment", "ber", "chip"), correct)},
        coords={"training": ["0", "0.1"], "treatment": [FIXED], "ber": [0.0, 0.1]},
        attrs={"test_images": 100, "image_set": "digits"},
    )
    axis = draw_grid(grid).axes[0]
    assert [text.get_text() for text in axis.texts] == ["50.0 ± 0.0"] * 3 + ["25.0 ± 12.9"]


def test_rates_of_chips_come_in_any_order(tmp_path: Path, call: Callable[..., Any]) -> None:
    """They were refused only after all trainings."""
    rates = ("--train-ber", 0, "--ber", 0.1, "--ber", 0.05, "--thresholds", "fixed")
    found = call(*SMALL, *rates, "--out", "any")
    assert found.returncode == 0, found.stderr
    grid = xr.load_dataset(tmp_path / "any" / "grid.nc", engine="h5netcdf")
    assert grid["ber"].values.tolist() == [0.05, 0.1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--statistics-ber", 0.6), "--statistics-ber is 0.6; give a rate from 0 to below 0.5"),
        (("--statistics-ber", "nan"), "--statistics-ber is nan; give a rate from 0 to below 0.5"),
        (("--checkpoints", "a.txt"), "--checkpoints a.txt is a file; name a directory"),
        (("--ber", "nan"), "rate nan of chips; give rates from 0 to 0.5"),
        (("--train-ber", "0:nan"), "nan is no training rate"),
    ],
)
def test_wrong_use_of_grid(
    options: tuple[object, ...], message: str, tmp_path: Path, call: Callable[..., Any]
) -> None:
    (tmp_path / "a.txt").write_text("")
    found = call(*SMALL, *options, "--out", "no")
    assert found.returncode == 2
    assert message in found.stderr
    assert not (tmp_path / "no").exists()
