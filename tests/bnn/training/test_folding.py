import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnn import FoldedNetwork, ImageSet, fold
from bnn.engines.dense import dense
from bnn.engines.packed import packed
from bnn.machine.packing import padding_is_zero
from bnn.networks.network import ALWAYS, NEVER, ConvLayer, HiddenLayer, layer_signs
from bnn.training.architectures import BinaryConvNet, BinaryMLP, BinaryNetwork
from bnn.training.exact_answers import module_answers
from bnn.training.folding import fold_threshold
from bnn.training.training import TrainedNetwork

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def check_threshold(scale: float, shift: float, bound: int) -> tuple[int, int]:
    """Compare with the affine map at every integer within the bound."""
    threshold, direction = fold_threshold(np.array([scale]), np.array([shift]), bound=bound)
    z = np.arange(-bound, bound + 1)
    with np.errstate(over="ignore"):
        expected = z.astype(np.float64) * scale + shift >= 0
    np.testing.assert_array_equal(direction[0] * z >= threshold[0], expected)
    return int(threshold[0]), int(direction[0])


# fl(fl(3 * 0.1) - 0.3) is 5.6e-17, not 0; -0.0 is at least 0; 1e308 * 9 overflows
@given(scale=FINITE, shift=FINITE, bound=st.integers(1, 300))
@example(scale=0.1, shift=-0.3, bound=10)
@example(scale=-0.1, shift=0.3, bound=10)
@example(scale=0.1, shift=-0.30000000000000004, bound=10)
@example(scale=0.0, shift=-0.0, bound=10)
@example(scale=-0.0, shift=-1e-300, bound=10)
@example(scale=1e308, shift=-1e308, bound=9)
@example(scale=-5e-324, shift=5e-324, bound=9)
@example(scale=1 / 3, shift=-7 / 3, bound=9)
def test_threshold_agrees_with_the_affine_map(scale: float, shift: float, bound: int) -> None:
    check_threshold(scale, shift, bound)


@given(st.integers(-254, 254), st.floats(1e-6, 1e6), st.booleans())
def test_an_exact_tie_fires(tie: int, scale: float, negative: bool) -> None:
    scale = -scale if negative else scale
    # z * scale + shift is exactly zero at z = tie
    threshold, direction = check_threshold(scale, -(tie * scale), 255)
    assert direction == (-1 if negative else 1)
    assert direction * tie >= threshold
    # one step further it is exactly one scale away from zero, far above rounding
    assert direction * tie - 1 < threshold


@pytest.mark.parametrize(
    ("scale", "shift", "threshold"),
    [
        (0.0, 0.0, ALWAYS),
        (0.0, -0.0, ALWAYS),
        (0.0, -1e-300, NEVER),
        (1.0, 10.0, ALWAYS),
        (1.0, 9.5, -9),
        (1.0, -10.0, 10),
        (1.0, -10.5, NEVER),
        (-1.0, 10.0, ALWAYS),
        (-1.0, -10.0, 10),
        (-1.0, -10.5, NEVER),
    ],
)
def test_constant_neurons_are_marked(scale: float, shift: float, threshold: int) -> None:
    assert check_threshold(scale, shift, 10)[0] == threshold


@pytest.mark.parametrize(("scale", "shift"), [(np.nan, 0.0), (1.0, np.inf)])
def test_numbers_that_are_not_finite_are_refused(scale: float, shift: float) -> None:
    with pytest.raises(ValueError, match=r"must be finite, got 1\.0 and|must be finite, got nan"):
        fold_threshold(np.array([1.0, scale]), np.array([0.0, shift]), bound=3)


def test_a_layer_that_diverged_is_named() -> None:
    module = BinaryMLP((5, 4, 3, 2), seed=0).eval()
    with torch.no_grad():
        module.norms[1].bias[2] = np.nan
    with pytest.raises(ValueError, match=r"'hidden_2': scale and shift .* nan at index 2"):
        fold(module)


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call module\.eval\(\)"):
        fold(BinaryMLP((5, 2), seed=0))


def random_module(sizes: tuple[int, ...], kind: str) -> BinaryMLP:
    """Random weights and batch norms; `kind` says what is odd about the batch norms."""
    module = BinaryMLP(sizes, seed=5).eval()
    randomize_norms(module, kind)
    return module


def randomize_norms(module: BinaryNetwork, kind: str) -> None:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for index, (latent, norm) in enumerate(zip(module.latents, module.norms, strict=True)):
            columns = latent[0].numel()
            width = np.sqrt(columns) * (150 if index == 0 else 1)
            norm.weight.normal_(generator=generator)
            norm.bias.normal_(generator=generator)
            norm.running_mean.normal_(0, float(width), generator=generator)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, float(width**2), generator=generator)  # type: ignore[union-attr]
            if kind == "negative":
                norm.weight.abs_().neg_()
            elif kind == "zero":
                norm.weight[::2] = 0.0
            elif kind == "ties":
                # mean an integer of the parity of the pre-activations, no shift: z = mean is a tie
                norm.bias.zero_()
                parity = columns % 2
                norm.running_mean.copy_(2 * (norm.running_mean / 2).round() + parity)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["plain", "negative", "zero", "ties"])
@pytest.mark.parametrize(
    "sizes",
    [(64, 64, 64, 10), (65, 63, 130, 7), (5, 1, 1, 3), (1, 1, 1), (784, 200, 10), (20, 4)],
)
def test_folded_network_answers_like_the_module(sizes: tuple[int, ...], kind: str) -> None:
    module = random_module(sizes, kind)
    network = fold(module)
    pixels = np.random.default_rng(0).integers(0, 256, (300, sizes[0]), dtype=np.uint8)
    expected = module_answers(module, pixels)
    for engine in (dense, packed):
        answers = engine.predict(network, engine.prepare(pixels), threads=1)  # type: ignore[arg-type]
        np.testing.assert_array_equal(answers, expected)
    for layer in network.layers:
        assert padding_is_zero(layer.weights, columns=layer.columns)


def test_ties_do_occur_in_the_network_with_ties() -> None:
    # otherwise the case above would test nothing
    module = random_module((65, 63, 130, 7), "ties")
    network = fold(module)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 65), dtype=np.uint8)
    z = packed.pre_activations(network, packed.prepare(pixels), threads=1)[1]
    layer = network.layers[1]
    assert isinstance(layer, HiddenLayer)
    ties = layer.direction * z == layer.threshold
    assert ties.sum() > 100
    mean = module.norms[1].running_mean.numpy()  # type: ignore[operator, union-attr]
    np.testing.assert_array_equal(z[ties], np.broadcast_to(mean, z.shape)[ties])


def test_trained_network_and_its_folding_agree_on_every_image(
    trained_digits: TrainedNetwork, folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    for images in (digits.train_images, digits.test_images):
        expected = module_answers(trained_digits.module, images)
        for engine in (dense, packed):
            prepared = engine.prepare(images)
            answers = engine.predict(folded_digits, prepared, threads=1)  # type: ignore[arg-type]
            np.testing.assert_array_equal(answers, expected)


def test_folded_weights_are_the_signs(
    trained_digits: TrainedNetwork, folded_digits: FoldedNetwork
) -> None:
    assert folded_digits.sizes == trained_digits.module.sizes
    for latent, layer in zip(trained_digits.module.latents, folded_digits.layers, strict=True):
        signs = np.where(latent.detach().numpy() >= 0, 1, -1)
        np.testing.assert_array_equal(layer_signs(layer), signs)


def check_folded_convolutions(module: BinaryConvNet, images: int) -> list[np.ndarray]:
    """Compare the folded network with the module: every pre-activation, every answer."""
    given: list[np.ndarray] = []
    hooks = [
        norm.register_forward_hook(lambda _, inputs, __: given.append(inputs[0].numpy()))
        for norm in module.norms
    ]
    network = fold(module)
    pixels = np.random.default_rng(0).integers(0, 256, (images, module.sizes[0]), dtype=np.uint8)
    prepared = dense.prepare(pixels)
    expected = module_answers(module, pixels, block=images)
    for hook in hooks:
        hook.remove()
    found = dense.pre_activations(network, prepared, threads=1)
    for ours, theirs in zip(found, given, strict=True):
        # PyTorch keeps (channel, row, column), the folded network (row, column, channel)
        rows = theirs.transpose(0, 2, 3, 1).reshape(images, -1) if theirs.ndim == 4 else theirs
        np.testing.assert_array_equal(ours, rows)
    np.testing.assert_array_equal(dense.predict(network, prepared, threads=1), expected)
    assert network.sizes == module.sizes
    for layer in network.layers:
        assert padding_is_zero(layer.weights, columns=layer.columns)
    return list(found)


@pytest.mark.parametrize("kind", ["plain", "negative", "zero", "ties"])
@pytest.mark.parametrize(
    ("image_shape", "options"),
    [
        ((3, 8, 8), {"channels": (5, 7, 9, 3), "dense": (20, 4)}),
        ((1, 5, 7), {"channels": (65, 3), "dense": (10,), "pool_after": 3}),
        ((2, 4, 6), {"channels": (70,), "dense": (6, 5, 3), "pool_after": 1, "kernel": 1}),
        ((4, 2, 2), {"channels": (3, 1), "dense": (2,), "kernel": 5}),
        ((1, 1, 1), {"channels": (1,), "dense": (1,)}),
    ],
)
def test_folded_convolutions_compute_what_the_module_does(
    image_shape: tuple[int, int, int], options: dict[str, object], kind: str
) -> None:
    module = BinaryConvNet(image_shape, **options, seed=5).eval()  # type: ignore[arg-type]
    randomize_norms(module, kind)
    check_folded_convolutions(module, 100)


@settings(max_examples=20, deadline=None)
@given(
    image_shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    channels=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    classes=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 9), max_size=2),
    pool_after=st.integers(1, 4),
    kernel=st.sampled_from([1, 3, 5]),
    kind=st.sampled_from(["plain", "negative", "zero", "ties"]),
)
def test_any_small_convolutional_network_folds(
    image_shape: tuple[int, int, int],
    channels: list[int],
    classes: int,
    hidden: list[int],
    pool_after: int,
    kernel: int,
    kind: str,
) -> None:
    # as many halvings as poolings, so that every shape fits
    scale = 2 ** (len(channels) // pool_after)
    module = BinaryConvNet(
        (image_shape[0], scale * image_shape[1], scale * image_shape[2]),
        channels=channels,
        dense=[*hidden, classes],
        pool_after=pool_after,
        kernel=kernel,
        seed=5,
    ).eval()
    randomize_norms(module, kind)
    check_folded_convolutions(module, 5)


def test_ties_do_occur_in_the_convolutions_with_ties() -> None:
    # otherwise the cases above would test nothing; both directions, with and without pooling
    module = BinaryConvNet((3, 8, 8), channels=(5, 7, 9, 3), dense=(20, 4), seed=5).eval()
    randomize_norms(module, "ties")
    found = check_folded_convolutions(module, 100)
    counts = {(direction, pool): 0 for direction in (-1, 1) for pool in (1, 2)}
    for layer, z in list(zip(fold(module).layers, found, strict=True))[:4]:
        assert isinstance(layer, ConvLayer)
        ties = layer.direction * z.reshape(-1, len(layer.weights)) == layer.threshold
        for direction in (-1, 1):
            counts[direction, layer.pool] += int(ties[:, layer.direction == direction].sum())
    assert min(counts.values()) > 50


def test_order_of_folded_weights() -> None:
    module = BinaryConvNet(
        (2, 4, 6), channels=(3,), dense=(4, 2), pool_after=1, kernel=3, seed=5
    ).eval()
    network = fold(module)
    signs = [np.where(latent.detach().numpy() >= 0, 1, -1) for latent in module.latents]
    conv = layer_signs(network.layers[0])
    for out, channel, row, column in np.ndindex(3, 2, 3, 3):
        bit = (row * 3 + column) * 2 + channel
        assert conv[out, bit] == signs[0][out, channel, row, column]
    # the pooled map has 3 channels of 2 x 3
    first = layer_signs(network.layers[1])
    for out, channel, row, column in np.ndindex(4, 3, 2, 3):
        there = (channel * 2 + row) * 3 + column
        assert first[out, (row * 3 + column) * 3 + channel] == signs[1][out, there]
    np.testing.assert_array_equal(layer_signs(network.layers[2]), signs[2])


def test_a_convolution_that_diverged_is_named() -> None:
    module = BinaryConvNet((1, 4, 4), channels=(3, 2), dense=(2,), seed=0).eval()
    with torch.no_grad():
        module.norms[1].weight[1] = np.inf
    with pytest.raises(ValueError, match=r"'hidden_2': scale and shift .* inf .* at index 1"):
        fold(module)
    with pytest.raises(ValueError, match=r"call module\.eval\(\)"):
        fold(module.train())
