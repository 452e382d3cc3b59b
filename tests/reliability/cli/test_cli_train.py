"""The command that trains, and networks of the zoo at the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnn import load_network, zoo_networks

SMALL = ("train", "--hidden", "20", "--epochs", 2)


def test_every_option_of_a_training_reaches_the_record(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    found = call(
        *(*SMALL, "--out", "net.safetensors", "--ber", 0.1, "--ber-from", 0.02),
        *("--gradient", "clean", "--loss", "squared hinge", "--margin", 2),
        *("--normalise-by", "running", "--statistics-ber", 0.01, "--seed", 7),
    )
    assert found.returncode == 0, found.stderr
    _, record = load_network(tmp_path / "net.safetensors")
    expected = {
        "ber": 0.1, "ber_from": 0.02, "gradient": "clean", "loss": "squared hinge", "margin": 2.0,
        "normalise_by": "running", "statistics_ber": 0.01, "seed": 7, "epochs": 2, "hidden": [20],
    }  # fmt: skip
    assert {name: record["training"][name] for name in expected} == expected


def test_convolutions_are_trained(tmp_path: Path, call: Callable[..., Any]) -> None:
    first = ("train", "--channels", "4,6", "--hidden", "10", "--epochs", 1, "--pool-after", 2)
    kept = ("--checkpoint", "state.safetensors")
    assert call(*first, "--out", "a.safetensors", *kept).returncode == 0
    found = call(
        *(*first, "--out", "b.safetensors", "--initial", "state.safetensors"),
        *("--shift", 1, "--mirror", "--arithmetic", "bfloat16", "--learning-rate", 0.001),
    )
    assert found.returncode == 0, found.stderr
    assert "training 64-4-6-10-10 on digits without errors" in found.stderr + found.stdout
    network, record = load_network(tmp_path / "b.safetensors")
    assert network.sizes == (64, 256, 96, 10, 10)
    assert record["training"]["augmentation"] == {"shift": 1, "mirror": True}
    assert record["training"]["arithmetic"] == "bfloat16"
    assert record["training"]["learning_rate"] == 0.001


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path, call: Callable[..., Any]) -> None:
    first = (*SMALL, "--out", "a.safetensors", "--checkpoint", "state.safetensors")
    assert call(*first).returncode == 0
    refused = call(*SMALL, "--out", "b.safetensors", "--checkpoint", "state.safetensors")
    assert refused.returncode == 2
    assert "state.safetensors is there; go on from it with --resume" in refused.stderr
    again = (*SMALL, "--out", "b.safetensors", "--checkpoint", "state.safetensors", "--resume")
    assert call(*again).returncode == 0
    same = [(tmp_path / f"{name}.safetensors").read_bytes() for name in "ab"]
    assert same[0] == same[1]
    other = call(*again, "--force", "--seed", 2)
    assert other.returncode == 2
    assert "the checkpoint of another training (options, images or version)" in other.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ber", 0.7], "--ber is 0.7; give a rate from 0 to below 0.5"),
        (["--ber-from", 0.1], "--ber-from is 0.1; give a rate from 0 to 0.0, the rate of --ber"),
        (["--gradient", "clean"], "--gradient clean differs with errors only; give --ber"),
        (["--gradient", "both", "--ber", 0.1], "unknown gradient 'both'; known: flipped, clean"),
        (["--loss", "hinge"], "unknown loss 'hinge'; known: cross-entropy, squared hinge"),
        (["--loss", "squared hinge"], "margin must be positive with the squared hinge"),
        (["--margin", -1], "margin must be not negative, got -1.0"),
        (["--normalise-by", "me"], "unknown normalise_by 'me'; known: batch, running"),
        (["--statistics-ber", 0.5], "--statistics-ber is 0.5; give a rate from 0 to below 0.5"),
        (["--channels", "8,x"], "--channels '8,x': give numbers like 48,48,96,96"),
        (["--channels", "8,0"], "channels must be a tuple of positive integers, got (8, 0)"),
        (["--pool-after", 1], "--pool-after goes with --channels"),
        (["--shift", -1], "shift must not be negative, got -1"),
        (["--shift", 8], "--shift 8: images of digits have 8 pixels from edge to edge"),
        (["--processor", "gpu"], "unknown device 'gpu'; known: cpu, cuda, cuda:N"),
        (["--arithmetic", "int8"], "unknown arithmetic 'int8'; known: float32, bfloat16"),
        (["--initial", "none.safetensors"], "none.safetensors: cannot be read"),
        (["--resume"], "--resume goes with --checkpoint FILE; name the file to go on from"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, call: Callable[..., Any], options: list[Any], message: str
) -> None:
    found = call(*SMALL, "--out", "net.safetensors", *options)
    assert found.returncode == 2
    assert message in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_zoo_is_listed(call: Callable[..., Any]) -> None:
    lines = call("zoo").stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"zoo:{n.name}" for n in zoo_networks()]
    assert "zoo:digits-standard: trained without errors; digits, " in "\n".join(lines)


def test_a_network_of_the_zoo_is_named_where_a_file_is_expected(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    found = call("inspect", "zoo:digits-4e-2")
    assert found.returncode == 0, found.stderr
    assert "hidden_1" in found.stdout
    found = call("evaluate", "zoo:digits-4e-2", "--out", "c.nc", "--chips", 2)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "c.nc").exists()
    found = call("inspect", "zoo:lenet")
    assert found.returncode == 2
    assert "no network 'lenet' in the zoo; known: cifar-" in found.stderr
