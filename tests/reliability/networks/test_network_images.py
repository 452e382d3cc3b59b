"""Images of another set than a network belongs to are refused, by every command alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import FoldedNetwork, save_network
from bnn.machine.packing import pack_bits
from bnn.networks.network import OutputLayer
from reliability.networks.images import image_set_of

COMMANDS = {
    "evaluate": ("evaluate", "{}", "--out", "c.nc"),
    "calibrate chips": ("calibrate", "{}", "--out", "c.nc"),
    "calibrate for a rate": ("calibrate", "{}", "--ber", 0.1, "--out", "c.safetensors"),
    "run": ("run", "--network", "{}", "--out", "results"),
}


def write(path: Path, record: dict[str, Any]) -> None:
    weights = pack_bits(np.random.default_rng(0).random((10, 64)) < 0.5)
    output = OutputLayer(
        name="output", columns=64, weights=weights, scale=np.ones(10), shift=np.zeros(10)
    )
    save_network(FoldedNetwork((output,)), path, record=record)


def done(call: Callable[..., Any], command: str, network: str, images: str) -> Any:
    words = [str(word).format(network) for word in COMMANDS[command]]
    chips = () if "--ber" in words else ("--chips", 2)
    return call(*words, "--images", images, *chips, "--threads", 1)


@pytest.mark.parametrize("command", COMMANDS)
def test_images_of_the_same_size_of_another_set(
    command: str, tmp_path: Path, call: Callable[..., Any]
) -> None:
    """Found before the images are looked for, which are not there."""
    found = done(call, command, "zoo:mnist-standard", "fashion-mnist")
    assert found.returncode == 2
    assert found.stderr == (
        "rram-reliability: zoo:mnist-standard belongs to images of mnist, not of fashion-mnist: "
        "give --images mnist\n"
    )
    record = {"source": {"format": "npz", "file": "net.npz", "image_set": "mnist"}}
    write(tmp_path / "net.safetensors", record)
    found = done(call, command, "net.safetensors", "digits")
    assert found.returncode == 2
    assert "give --images mnist, or import the network again with --images digits" in found.stderr
    assert not list(tmp_path.glob("c.*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_images_of_another_size(
    command: str, tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "net.safetensors", {})
    blank = np.zeros((4, 784), np.uint8)
    other = type("Images", (), {"name": "mnist", "test_images": blank, "train_images": blank})
    monkeypatch.setattr("bnn.images.sets.load_images", lambda *a, **k: other)
    found = done(call, command, "net.safetensors", "mnist")
    assert found.returncode == 2
    assert "net.safetensors takes 64 pixels, mnist has 784; choose the image set" in found.stderr


def test_a_network_that_names_no_images_may_have_any(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    write(tmp_path / "net.safetensors", {})
    assert done(call, "evaluate", "net.safetensors", "digits").returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_no_network(command: str, tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "net.safetensors").mkdir()
    found = done(call, command, "net.safetensors", "digits")
    assert found.returncode == 2
    assert "net.safetensors is a folder; a network is a file and its twin" in found.stderr


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({}, None),
        ({"image_set": {"name": "mnist", "sha256": "0"}}, "mnist"),
        ({"source": {"image_set": "digits"}}, "digits"),
        ({"source": {"format": "PyTorch"}}, None),
        ({"image_set": {}, "source": None}, None),
    ],
)
def test_where_a_record_names_its_images(record: dict[str, Any], name: str | None) -> None:
    assert image_set_of(record) == name
