from pathlib import Path

import pytest

from bnn import evaluate, load_images, load_zoo, open_network, save_network, zoo_networks
from bnn.networks.network import network_sha256
from bnn.zoo.networks import ZooNetwork

NETWORKS = zoo_networks()
EVERY = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


def test_the_networks_that_the_documentation_names_are_there() -> None:
    assert {network.name for network in NETWORKS} >= {
        "digits-standard",
        "digits-4e-2",
        "mnist-standard",
        "mnist-4e-2",
        "mnist-range",
        "mnist-range-fixed",
        "mnist-margin",
        "cifar-standard",
        "cifar-range",
        "cifar-high-range",
        "cifar-high-range-x3",
        "cifar-4e-2",
        "cifar-margin",
    }


@EVERY
def test_every_network_loads_with_its_provenance(network: ZooNetwork) -> None:
    folded, record = load_zoo(network.name)
    assert record["command"].startswith("python analyses/")
    assert {"numpy", "torch", "rram-reliability"} <= set(record["versions"])
    assert record["training"]["seed"] >= 0
    assert len(record["history"]) == record["training"]["epochs"]
    assert record["history"][-1]["test_correct"] == network.correct
    hidden = tuple(record["training"]["hidden"])
    assert folded.sizes[-1 - len(hidden) : -1] == hidden


@EVERY
def test_every_network_answers_as_its_record_says(network: ZooNetwork, images_dir: Path) -> None:
    folded, record = load_zoo(network.name)
    images = load_images(network.image_set, images_dir=images_dir)
    assert images.sha256 == record["image_set"]["sha256"]
    # a subset within the binomial error of the whole, z = 5 for up to ten networks
    few = min(2000, network.images)
    counts = evaluate(
        folded, images.test_images[:few], images.test_labels[:few], ber=[0.0], chips=1, seed=0
    )
    right = int(counts["correct"][0, 0])
    share = network.correct / network.images
    if few == network.images:
        assert right == network.correct
    assert abs(right / few - share) < 5 * (share * (1 - share) / few) ** 0.5


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no network .lenet. in the zoo; known: cifar-"):
        load_zoo("lenet")


@pytest.mark.parametrize("name", ["", "../zoo/digits-4e-2", "digits-4e-2.safetensors"])
def test_only_names_are_taken(name: str) -> None:
    with pytest.raises(ValueError, match="in the zoo; known: "):
        load_zoo(name)


def test_a_source_is_a_file_or_a_name_of_the_zoo(tmp_path: Path) -> None:
    folded, record = open_network("zoo:digits-standard")
    path = tmp_path / "mine.safetensors"
    save_network(folded, path, record=record)
    again, same = open_network(path)
    assert network_sha256(again) == network_sha256(folded)
    assert same == record
    with pytest.raises(ValueError, match="no network 'mine' in the zoo"):
        open_network(Path("zoo:mine"))
