"""Commands about networks alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import TrainingOptions, fold, load_images, load_network, save_network, train
from reliability.network_study import load_counts, name_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = load_images("digits")
    path = tmp_path_factory.mktemp("networks") / "net.safetensors"
    options = TrainingOptions(hidden=(40,), epochs=8, batch_size=50, seed=1)
    save_network(fold(train(images, options).module), path, record={"training": {"ber": 0.0}})
    return path


def test_thresholds_are_folded_for_a_rate(
    trained: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    found = call("calibrate", trained, "--ber", 0.1, "--out", "for.safetensors")
    assert found.returncode == 0, found.stderr
    assert found.stdout == "network, thresholds folded for p = 0.1: for.safetensors\n"
    network, record = load_network(tmp_path / "for.safetensors")
    before, _ = load_network(trained)
    np.testing.assert_array_equal(network.layers[0].weights, before.layers[0].weights)
    changed = network.layers[0].threshold != before.layers[0].threshold  # type: ignore[union-attr]
    assert changed.mean() > 0.5
    assert record["thresholds"]["images"] == 1197
    assert name_of(record) == "standard, thresholds folded for p = 0.1"
    again = call("calibrate", "for.safetensors", "--out", "counts.nc")
    assert again.returncode == 2
    assert "are folded for p = 0.1; start from the network as trained" in again.stderr


def test_chips_are_calibrated(trained: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    options = ("--chips", 2, "--threads", 1)
    found = call("calibrate", trained, "--out", "own.nc", "--calibration-images", 200, *options)
    assert found.returncode == 0, found.stderr
    assert call("evaluate", trained, "--out", "fixed.nc", *options).returncode == 0
    own, fixed = (load_counts(tmp_path / name) for name in ("own.nc", "fixed.nc"))
    assert own.record["thresholds"]["images"] == 200
    assert name_of(own.record) == "standard, thresholds calibrated per chip"
    assert name_of(fixed.record) == "standard"
    assert (own.counts.flips == fixed.counts.flips).all()
    gain = (own.counts.correct - fixed.counts.correct).sel(ber=0.15) / 600
    # 0.1 seen
    assert float(gain.mean()) > 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "a.safetensors"), "must end in .nc"),
        (("--ber", 0.1, "--out", "a.nc"), "must end in .safetensors"),
        (("--ber", 0.5, "--out", "a.safetensors"), "give a rate between 0 and 0.5"),
        (("--out", "a.nc", "--calibration-images", 2000), "digits has 1197 training images"),
    ],
)
def test_wrong_use_of_calibrate(
    trained: Path, call: Callable[..., Any], arguments: tuple[object, ...], message: str
) -> None:
    found = call("calibrate", trained, *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
