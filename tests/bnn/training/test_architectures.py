import numpy as np
import pytest
import torch

from bnn.training.architectures import BinaryConvNet, BinaryMLP, encode_pixels
from bnn.training.exact_answers import module_answers


def test_pixels_become_odd_integers() -> None:
    encoded = encode_pixels(torch.arange(256, dtype=torch.uint8))
    assert encoded.tolist() == list(range(-255, 256, 2))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((10,), "at least two positive integers"),
        ((10, 0, 2), "at least two positive integers"),
        ((65_794, 2, 2), r"sizes\[0\] = 65794 gives pre-activations up to 16777470"),
        ((2, 2**24, 1), r"sizes\[1\] = 16777216"),
    ],
)
def test_bad_sizes_are_refused(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BinaryMLP(sizes, seed=0)


def test_widest_exact_input_is_accepted() -> None:
    # 65,793 * 255 = 2**24 - 1
    module = BinaryMLP((65_793, 1, 1), seed=0).eval()
    with torch.no_grad():
        module.latents[0].fill_(1.0)
        z = module.linears[0](encode_pixels(torch.full((1, 65_793), 255, dtype=torch.uint8)))
    assert z.item() == 2**24 - 1


def test_first_pre_activations_are_exact() -> None:
    module = BinaryMLP((784, 50, 3), seed=0)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 784), dtype=np.uint8)
    with torch.no_grad():
        z = module.linears[0](encode_pixels(torch.tensor(pixels))).numpy()
    signs = np.where(module.latents[0].detach().numpy() >= 0, 1, -1)
    np.testing.assert_array_equal(z, (2 * pixels.astype(np.int64) - 255) @ signs.T)


def test_sizes_and_seed() -> None:
    module = BinaryMLP((7, 5, 4, 3), seed=3)
    assert module.sizes == (7, 5, 4, 3)
    assert [tuple(latent.shape) for latent in module.latents] == [(5, 7), (4, 5), (3, 4)]
    same, other = BinaryMLP((7, 5, 4, 3), seed=3), BinaryMLP((7, 5, 4, 3), seed=4)
    assert torch.equal(module.latents[2], same.latents[2])
    assert not torch.equal(module.latents[2], other.latents[2])


@pytest.mark.parametrize(
    "pixels", [torch.zeros(2, 7), torch.zeros(2, 8, dtype=torch.uint8), torch.zeros(7).byte()]
)
def test_other_inputs_than_pixels_are_refused(pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 with the shape \(batch, 7\)"):
        BinaryMLP((7, 3), seed=0)(pixels)


def test_answers_take_the_lowest_class_on_a_tie_and_do_not_depend_on_blocks() -> None:
    module = BinaryMLP((7, 5, 4), seed=0).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (33, 7), dtype=np.uint8)
    whole, parts = module_answers(module, pixels), module_answers(module, pixels, block=4)
    np.testing.assert_array_equal(whole, parts)
    assert len(set(whole.tolist())) > 1
    with torch.no_grad():
        module.norms[1].weight.zero_()
    assert module_answers(module, pixels).tolist() == [0] * 33


def test_answers_need_evaluation_mode() -> None:
    with pytest.raises(ValueError, match=r"call module\.eval\(\)"):
        module_answers(BinaryMLP((7, 3), seed=0), np.zeros((1, 7), np.uint8))


def small_conv_net(**changes: object) -> BinaryConvNet:
    options: dict[str, object] = {"channels": (4, 6), "dense": (9, 5), "seed": 3}
    return BinaryConvNet((3, 4, 6), **{**options, **changes})  # type: ignore[arg-type]


def test_default_is_the_network_of_binary_net_for_cifar() -> None:
    module = BinaryConvNet((3, 32, 32), seed=0)
    assert module.maps == (
        *((3, 32, 32), (128, 32, 32), (128, 16, 16), (256, 16, 16)),
        *((256, 8, 8), (512, 8, 8), (512, 4, 4)),
    )
    assert module.pools == (1, 2, 1, 2, 1, 2)
    assert module.sizes == (
        *(3072, 131_072, 32_768, 65_536, 16_384, 32_768, 8192),
        *(1024, 1024, 10),
    )
    # 9 * (3*128 + 128*128 + 128*256 + 256*256 + 256*512 + 512*512) + 8192*1024 + 1024*1024 + 10240
    assert sum(latent.numel() for latent in module.latents) == 14_022_016
    assert module.most_values == 131_072


def test_width_scales_all_but_the_classes() -> None:
    module = small_conv_net(width=0.3, channels=(4, 6, 1), dense=(9, 5))
    assert [latent.shape[0] for latent in module.latents] == [1, 2, 1, 3, 5]
    assert small_conv_net(width=2).sizes == (72, 192, 72, 18, 5)


@pytest.mark.parametrize(
    ("pool_after", "pools", "last"),
    [(1, (2, 2, 2), (2, 1, 2)), (2, (1, 2, 1), (2, 4, 8)), (4, (1, 1, 1), (2, 8, 16))],
)
def test_pooling_follows_every_so_many_convolutions(
    pool_after: int, pools: tuple[int, ...], last: tuple[int, ...]
) -> None:
    module = BinaryConvNet(
        (1, 8, 16), channels=(2, 2, 2), dense=(3,), pool_after=pool_after, seed=0
    )
    assert module.pools == pools
    assert module.maps[-1] == last
    assert module(torch.zeros(2, 128, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ()}, r"channels must hold positive integers, got \(\)"),
        ({"channels": (4, 0)}, "channels must hold positive integers"),
        ({"dense": ()}, "dense must hold positive integers"),
        ({"pool_after": 0}, "pool_after must be at least 1, got 0"),
        ({"kernel": 4}, "kernel must be odd and positive, got 4"),
        ({"width": 0.0}, r"width must be positive, got 0\.0"),
        ({"width": float("nan")}, "width must be positive, got nan"),
        ({"channels": (2, 2, 2, 2)}, "convolution 4 gives a map of 2 x 3, which cannot be halved"),
        ({"kernel": 149}, "convolution 1 with 3 input channels gives .* up to 16983765"),
        (
            {"channels": (2, 1), "kernel": 147, "width": 1e6},
            "convolution 2 with 2000000 input channels",
        ),
    ],
)
def test_bad_convolutional_architectures_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_conv_net(**changes)


@pytest.mark.parametrize("shape", [(3, 4), (1, 0, 4)])
def test_bad_image_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="image_shape must"):
        BinaryConvNet(shape, seed=0)  # type: ignore[arg-type]


def test_convolutional_network_follows_the_seed() -> None:
    ours, same, other = (small_conv_net(seed=seed) for seed in (3, 3, 4))
    for one, two, three in zip(ours.latents, same.latents, other.latents, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_convolutional_network_reads_channel_row_column() -> None:
    module = BinaryConvNet((2, 2, 3), channels=(2,), dense=(12,), kernel=1, seed=0).eval()
    pixels = torch.tensor([[0, 255, 0, 0, 0, 255] + [255, 255, 255, 0, 0, 0]], dtype=torch.uint8)
    with torch.no_grad():
        module.latents[0].copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]])[:, :, None, None])
        module.latents[1].fill_(-1.0).fill_diagonal_(1.0)
        module.norms[0].bias.fill_(-1e-6)
        # sums of the channels 0, 510, 0, -510, -510, 0 and differences -510, 0, -510, 0, 0, 510:
        # a sum of 0 lies just below the threshold
        signs = torch.tensor([[-1.0, 1, -1, -1, -1, -1] + [-1, -1, -1, -1, -1, 1]])
        assert torch.equal(module(pixels), module.norms[1](module.linears[0](signs)))


def test_pooling_comes_before_the_batch_norm() -> None:
    module = BinaryConvNet((1, 2, 2), channels=(1,), dense=(2,), pool_after=1, kernel=1, seed=0)
    module.eval()
    seen = []
    module.norms[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.no_grad():
        module.latents[0].fill_(-1.0)
        module(torch.tensor([[0, 10, 20, 255]], dtype=torch.uint8))
    assert seen[0].tolist() == [[[[255.0]]]]


def test_convolutional_network_learns_the_direction_of_stripes() -> None:
    rng = np.random.default_rng(0)
    labels = torch.tensor(rng.integers(0, 2, 120))
    # random grey levels, in rows or in columns: no single pixel tells the class
    lines = rng.integers(0, 256, (120, 8), dtype=np.uint8)
    images = np.repeat(lines[:, :, None], 8, axis=2)
    images[labels.numpy() == 1] = images[labels.numpy() == 1].transpose(0, 2, 1)
    pixels = torch.tensor(images.reshape(120, 64))
    module = BinaryConvNet((1, 8, 8), channels=(8, 8), dense=(2,), seed=1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    flips = np.random.default_rng(2)
    for _ in range(30):
        scores = module(pixels[:100], ber=0.001, rng=flips)
        assert scores.dtype == torch.float32
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores, labels[:100]).backward()
        assert all(latent.grad is not None and latent.grad.any() for latent in module.latents)
        optimizer.step()
    answers = module_answers(module.eval(), pixels.numpy())
    assert (answers[:100] == labels[:100].numpy()).mean() > 0.9
    assert (answers[100:] == labels[100:].numpy()).mean() > 0.7


def test_flips_reach_every_layer_of_a_convolutional_network() -> None:
    module = small_conv_net().eval()
    pixels = torch.tensor(np.random.default_rng(0).integers(0, 256, (4, 72), dtype=np.uint8))
    seen: list[torch.Tensor] = []
    for norm in module.norms:
        norm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    flipped, plain = (module(pixels, ber=ber, rng=np.random.default_rng(0)) for ber in (1.0, 0.0))
    # nothing comes before the pre-activations of the first layer, so all its weights were flipped
    assert torch.equal(seen[0], -seen[4])
    assert not torch.equal(flipped, plain)


@pytest.mark.parametrize("pixels", [torch.zeros(2, 72), torch.zeros(2, 3, 4, 6).byte()])
def test_a_convolutional_network_reads_flat_images(pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 with the shape \(batch, 72\)"):
        small_conv_net()(pixels)


def test_answers_of_a_convolutional_network_do_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = small_conv_net().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (33, 72), dtype=np.uint8)
    whole = module_answers(module, pixels)
    # 4 channels of 4 x 6 are the most: five images at a time
    monkeypatch.setattr("bnn.training.exact_answers._BLOCK_VALUES", 5 * 144)
    sizes: list[int] = []
    module.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    np.testing.assert_array_equal(module_answers(module, pixels), whole)
    assert sizes == [5] * 6 + [3]
    assert len(set(whole.tolist())) > 1
