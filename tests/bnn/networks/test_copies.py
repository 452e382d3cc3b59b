"""Copies of neurons: same answers, and fewer of them lost to wrong bits."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bnn
from bnn.engines.packed import packed
from bnn.networks.copies import copy_neurons
from bnn.networks.network import layer_signs
from bnn.training.architectures import BinaryConvNet, BinaryMLP
from bnn.training.checkpoints import begin_with
from bnn.training.exact_answers import module_answers
from bnn.training.layers import BatchNorm
from bnn.training.widening import widened

PIXELS = 3 * 8 * 8


def stirred(module: BinaryMLP | BinaryConvNet, seed: int) -> BinaryMLP | BinaryConvNet:
    """Give the batch norms values of all signs, and one constant neuron."""
    rng = np.random.default_rng(seed)
    for norm, latent in zip(module.norms, module.latents, strict=True):
        assert isinstance(norm, BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        rows = len(norm.running_mean)
        spread = np.sqrt(latent[0].numel())
        norm.running_mean.copy_(torch.tensor(spread * rng.normal(size=rows)))
        norm.running_var.copy_(torch.tensor(spread**2 * rng.uniform(0.3, 3.0, size=rows)))
        norm.weight.data.copy_(torch.tensor(rng.normal(size=rows)))
        norm.bias.data.copy_(torch.tensor(rng.normal(size=rows)))
        norm.weight.data[0] = 0.0
    module.eval()
    return module


def convolutional(channels: tuple[int, ...] = (5, 6, 4)) -> BinaryConvNet:
    return BinaryConvNet((3, 8, 8), channels=channels, dense=(12, 7, 4), seed=3)


def images(seed: int, number: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(number, PIXELS), dtype=np.uint8)


def answers_of(network: bnn.FoldedNetwork, pixels: np.ndarray) -> np.ndarray:
    return packed.predict(network, packed.prepare(pixels), threads=1)


@settings(max_examples=20, deadline=None)
@given(
    copies=st.dictionaries(
        st.sampled_from([f"hidden_{n}" for n in range(1, 6)]), st.integers(1, 4), max_size=5
    ),
    seed=st.integers(0, 2**16),
)
def test_answers_stay_the_same(copies: Mapping[str, int], seed: int) -> None:
    network = bnn.fold(stirred(convolutional(), seed))
    wide = copy_neurons(network, copies)
    for layer, new in zip(network.layers, wide.layers, strict=True):
        assert len(new.weights) == copies.get(layer.name, 1) * len(layer.weights)
    pixels = images(seed)
    np.testing.assert_array_equal(answers_of(wide, pixels), answers_of(network, pixels))


def test_sums_of_the_next_layer_grow_by_the_number_of_copies() -> None:
    network = bnn.fold(stirred(convolutional(), 4))
    wide = copy_neurons(network, {"hidden_2": 3, "hidden_5": 2})
    for name, factor in (("hidden_3", 3), ("hidden_4", 1), ("output", 2)):
        index = network.layer_names.index(name)
        old, new = layer_signs(network.layers[index]), layer_signs(wide.layers[index])
        # whatever the inputs, each column of before has so many equal columns now
        assert new.sum() == factor * old.sum() * (len(new) // len(old))
        assert new.shape[1] == factor * old.shape[1]


def test_a_wider_module_answers_as_the_narrow_one_and_as_its_copies() -> None:
    narrow, wide = stirred(convolutional(), 5), convolutional((15, 6, 8))
    shapes = {name: value.shape for name, value in wide.state_dict().items()}
    wide.load_state_dict(widened(narrow.state_dict(), shapes))
    wide.eval()
    pixels = images(5)
    np.testing.assert_array_equal(module_answers(wide, pixels), module_answers(narrow, pixels))
    copied = copy_neurons(bnn.fold(narrow), {"hidden_1": 3, "hidden_3": 2})
    for a, b in zip(bnn.fold(wide).layers, copied.layers, strict=True):
        np.testing.assert_array_equal(layer_signs(a), layer_signs(b))


def test_training_goes_on_from_a_narrower_network(tmp_path: Path) -> None:
    digits = bnn.load_images("digits")
    options = bnn.TrainingOptions(hidden=(20,), epochs=1, seed=2)
    checkpoint = tmp_path / "narrow.safetensors"
    narrow = bnn.train(digits, options, checkpoint=checkpoint)
    wide = BinaryMLP((64, 60, 10), seed=9)
    begin_with(wide, checkpoint)
    wide.eval()
    # the last batch norm divides by sqrt(variance + 1e-5), which 3 copies leave as good as the same
    same = module_answers(wide, digits.test_images) == module_answers(
        narrow.module, digits.test_images
    )
    assert same.mean() > 0.99
    options = dataclasses.replace(options, hidden=(60,), ber=0.1)
    assert bnn.train(digits, options, initial=checkpoint).module.sizes == (64, 60, 10)
    options = dataclasses.replace(options, hidden=(30,))
    with pytest.raises(ValueError, match=r"\(20, 64\) there, and \(30, 64\) is no multiple"):
        bnn.train(digits, options, initial=checkpoint)


def test_copies_tolerate_more_wrong_bits() -> None:
    digits = bnn.load_images("digits")
    options = bnn.TrainingOptions(hidden=(32, 32), epochs=12, seed=2)
    network = bnn.fold(bnn.train(digits, options).module)
    wide = copy_neurons(network, {"hidden_1": 3, "hidden_2": 3})
    found = [
        bnn.evaluate(n, digits.test_images, digits.test_labels, ber=[0.0, 0.1], chips=30, seed=1)
        for n in (network, wide)
    ]
    means = [counts["correct"].mean("chip").values for counts in found]
    assert means[0][0] == means[1][0]
    error = np.sqrt(sum(float(c["correct"].isel(ber=1).var("chip", ddof=1)) / 30 for c in found))
    assert means[1][1] - means[0][1] > 5 * error


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        ({"hidden_9": 2}, "unknown layers 'hidden_9'"),
        ({"output": 2}, "one row for each class"),
        ({"hidden_1": 0}, "from 1 to 64"),
        ({"hidden_1": 2.0}, "whole number"),
    ],
)
def test_copies_without_sense_are_refused(copies: dict[str, int], words: str) -> None:
    network = bnn.fold(stirred(convolutional(), 1))
    with pytest.raises(ValueError, match=words):
        copy_neurons(network, copies)


def test_other_architectures_are_not_widened() -> None:
    state = convolutional().state_dict()
    for other, words in (
        (BinaryMLP((PIXELS, 12, 4), seed=1), "is not in both"),
        (convolutional((5, 6, 6)), "no multiple"),
        (BinaryConvNet((3, 8, 8), channels=(5, 6, 4), kernel=5, dense=(12, 7, 4), seed=1), "shape"),
    ):
        shapes = {name: value.shape for name, value in other.state_dict().items()}
        with pytest.raises(ValueError, match=words):
            widened(state, shapes)
