from typing import Any

import numpy as np
import pytest
import torch

from bnn.machine.exact_float import exact_conv2d
from bnn.training.layers import (
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    binarize,
    draw_weights,
)


def linear(rows: int = 3, columns: int = 4) -> BinaryLinear:
    return BinaryLinear(columns, rows, generator=torch.Generator().manual_seed(0))


def flipped_product(
    layer: BinaryLinear | BinaryConv2d, inputs: torch.Tensor, **options: Any
) -> torch.Tensor:
    result: torch.Tensor = layer(inputs, draw_weights(layer.latent, **options))
    return result


def test_sign_of_zero_is_plus_one() -> None:
    values = torch.tensor([-2.0, -1e-45, -0.0, 0.0, 1e-45, 3.0])
    assert binarize(values).tolist() == [-1, -1, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_binarize_keeps_the_type(dtype: torch.dtype) -> None:
    assert binarize(torch.zeros(2, dtype=dtype)).dtype == dtype


def test_gradient_passes_within_one() -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    latent = torch.tensor([-above, -1.0, -0.5, 0.0, 1.0, above], requires_grad=True)
    binarize(latent).backward(torch.arange(1.0, 7.0))
    assert latent.grad is not None
    assert latent.grad.tolist() == [0, 2, 3, 4, 5, 0]


def test_binary_linear_uses_signs() -> None:
    layer = linear()
    with torch.no_grad():
        layer.latent.copy_(torch.tensor([[0.1, -0.1, 0, 1], [-1, -1, -1, -1], [1, 1, 1, 1.0]]))
    z = layer(torch.tensor([[1.0, 10, 100, 1000]]))
    assert z.tolist() == [[1091, -1111, 1111]]


def test_flipping_everything_negates_and_keeps_the_gradient_of_the_latent_weights() -> None:
    layer = linear()
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    flipped = flipped_product(layer, inputs, ber=1.0, rng=np.random.default_rng(0))
    torch.testing.assert_close(flipped, -layer(inputs.detach()), rtol=0, atol=0)
    flipped.sum().backward()
    assert layer.latent.grad is not None
    assert inputs.grad is not None
    # taken at the flipped weights, so towards the inputs it is -sign(latent) ...
    signs = torch.where(layer.latent >= 0, 1.0, -1.0)
    torch.testing.assert_close(inputs.grad, -signs.sum(0).expand(5, 4))
    # ... and handed to the latent weights as it is
    torch.testing.assert_close(layer.latent.grad, inputs.detach().sum(0).expand(3, 4))


def test_flips_are_drawn_anew_and_follow_the_generator() -> None:
    layer = linear(30, 50)
    inputs = torch.eye(50)
    rng = np.random.default_rng(0)
    first, second = (flipped_product(layer, inputs, ber=0.1, rng=rng) for _ in range(2))
    again = flipped_product(layer, inputs, ber=0.1, rng=np.random.default_rng(0))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    # 1500 weights: 150 +- 11.6 flips, two-sided z = 5
    flips = int((first != layer(inputs)).sum())
    assert 92 < flips < 208


def test_errors_need_a_generator() -> None:
    with pytest.raises(ValueError, match=r"ber = 0\.1 needs rng"):
        flipped_product(linear(), torch.ones(1, 4), ber=0.1)


def test_initial_latent_weights_follow_the_seed_and_stay_within_the_limit() -> None:
    first, second = linear(200, 100).latent, linear(200, 100).latent
    assert torch.equal(first, second)
    # sqrt(6 / 300); 20,000 uniform values come closer than 1 % to both ends
    assert 0.99 * np.sqrt(0.02) < float(first.abs().max().detach()) <= np.sqrt(0.02) * (1 + 1e-6)


def convolution(outputs: int = 3, inputs: int = 2, kernel: int = 3) -> BinaryConv2d:
    return BinaryConv2d(inputs, outputs, kernel=kernel, generator=torch.Generator().manual_seed(0))


def padded_products(inputs: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Convolution by loops over taps in int64; a tap outside the map adds nothing."""
    _, _, height, width = inputs.shape
    kernel = signs.shape[2]
    z = np.zeros((len(inputs), len(signs), height, width), np.int64)
    for row in range(height):
        for column in range(width):
            for i in range(kernel):
                for j in range(kernel):
                    y, x = row + i - kernel // 2, column + j - kernel // 2
                    if 0 <= y < height and 0 <= x < width:
                        z[:, :, row, column] += inputs[:, :, y, x] @ signs[:, :, i, j].T
    return z


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolution_pads_with_zeros(kernel: int, training: bool) -> None:
    layer = convolution(kernel=kernel).train(training)
    inputs = np.random.default_rng(0).integers(-255, 256, (4, 2, 5, 3))
    with torch.no_grad():
        z = layer(torch.tensor(inputs, dtype=torch.float32)).numpy()
    signs = np.where(layer.latent.detach().numpy() >= 0, 1, -1)
    np.testing.assert_array_equal(z, padded_products(inputs, signs))
    assert layer.kernel == kernel


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_even_kernels_are_refused(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"kernel must be odd and positive, got {kernel}"):
        convolution(kernel=kernel)


def test_convolution_is_exact_where_pytorch_would_round(monkeypatch: pytest.MonkeyPatch) -> None:
    # without oneDNN, PyTorch gives 16 images or more to NNPACK, which transforms by Winograd
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    rng = np.random.default_rng(0)
    inputs, signs = (rng.choice([-1, 1], s) for s in ((16, 256, 8, 8), (8, 256, 3, 3)))
    expected = padded_products(inputs, signs)
    values, weights = (torch.tensor(part, dtype=torch.float32) for part in (inputs, signs))
    np.testing.assert_array_equal(exact_conv2d(values, weights).numpy(), expected)
    if torch.backends.nnpack.is_available():
        # the control: plain PyTorch is wrong here, by up to 0.003
        rounded = torch.nn.functional.conv2d(values, weights, padding=1).numpy()
        assert 1e-5 < np.abs(rounded - expected).max() < 0.1


@pytest.mark.parametrize("enabled", [True, False])
def test_exact_convolution_leaves_the_settings_as_they_were(enabled: bool) -> None:
    def settings() -> tuple[bool, bool]:
        return torch.backends.cudnn.enabled, torch._C._get_nnpack_enabled()

    before = settings()
    try:
        torch.backends.cudnn.enabled = enabled
        torch.backends.nnpack.set_flags(enabled)
        exact_conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1))
        assert settings() == (enabled, enabled)
        with pytest.raises(RuntimeError, match="channels"):
            exact_conv2d(torch.ones(1, 2, 2, 2), torch.ones(1, 1, 1, 1))
        assert settings() == (enabled, enabled)
    finally:
        torch.backends.cudnn.enabled = before[0]
        torch.backends.nnpack.set_flags(before[1])


def test_flipping_all_weights_of_a_convolution_negates() -> None:
    layer = convolution()
    inputs = torch.randint(-9, 9, (5, 2, 4, 4), generator=torch.Generator().manual_seed(1)).float()
    flipped = flipped_product(layer, inputs, ber=1.0, rng=np.random.default_rng(0))
    torch.testing.assert_close(flipped, -layer(inputs), rtol=0, atol=0)
    flipped.sum().backward()
    assert layer.latent.grad is not None
    # handed to the latent weights as it is: the middle tap of channel c has seen every value of c
    middle = layer.latent.grad[:, :, 1, 1]
    torch.testing.assert_close(middle, inputs.sum((0, 2, 3)).expand(3, 2))
    with pytest.raises(ValueError, match=r"ber = 0\.1 needs rng"):
        flipped_product(layer, inputs, ber=0.1)


def test_flips_of_a_convolution_are_drawn_anew() -> None:
    layer = convolution(outputs=30, inputs=50, kernel=1)
    inputs = torch.eye(50)[:, :, None, None]
    rng = np.random.default_rng(0)
    first, second = (flipped_product(layer, inputs, ber=0.1, rng=rng) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, flipped_product(layer, inputs, ber=0.1, rng=np.random.default_rng(0)))
    # 1500 weights: 150 +- 11.6 flips, two-sided z = 5
    assert 92 < int((first != layer(inputs)).sum()) < 208


def test_initial_latent_weights_of_a_convolution_stay_within_the_limit() -> None:
    largest = float(convolution(outputs=40, inputs=60).latent.abs().max().detach())
    # sqrt(6 / (9 * (40 + 60))); 21,600 uniform values come closer than 1 % to it
    limit = np.sqrt(6 / 900)
    assert 0.99 * limit < largest <= limit * (1 + 1e-6)


def batch_norm() -> BatchNorm:
    norm = BatchNorm(5)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.0, 1e-3, 5.0]))
        norm.bias.normal_(generator=generator)
        norm.running_mean.normal_(0, 100, generator=generator)  # type: ignore[union-attr]
        norm.running_var.uniform_(1, 1e4, generator=generator)  # type: ignore[union-attr]
    return norm


def test_evaluation_is_the_affine_map_to_the_last_bit() -> None:
    norm = batch_norm().eval()
    z = torch.arange(-300.0, 300).unsqueeze(1).expand(600, 5)
    scale, shift = (part.numpy() for part in norm.scale_and_shift())
    result = norm(z).detach().numpy()
    assert result.dtype == np.float64
    assert np.array_equal(result, z.numpy().astype(np.float64) * scale + shift)


def test_evaluation_of_maps_is_the_same_affine_map() -> None:
    norm = batch_norm().eval()
    rows = torch.arange(-300.0, 300).unsqueeze(1).expand(600, 5)
    # 50 images of 4 x 3 places
    maps = rows.reshape(50, 4, 3, 5).permute(0, 3, 1, 2)
    result = norm(maps)
    assert result.shape == (50, 5, 4, 3)
    assert torch.equal(result.permute(0, 2, 3, 1).reshape(600, 5), norm(rows))


def test_training_on_maps_is_batch_norm_of_maps() -> None:
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    maps = torch.randn(20, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 7 + 3
    torch.testing.assert_close(ours(maps), theirs(maps))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_evaluation_is_batch_norm() -> None:
    norm = batch_norm().eval()
    z = torch.linspace(-300, 300, 50).unsqueeze(1).expand(50, 5)
    expected = torch.nn.functional.batch_norm(
        z.double(),
        norm.running_mean.double(),  # type: ignore[union-attr]
        norm.running_var.double(),  # type: ignore[union-attr]
        norm.weight.double(),
        norm.bias.double(),
        eps=norm.eps,
    )
    torch.testing.assert_close(norm(z), expected, rtol=1e-12, atol=1e-12)


def test_training_normalises_the_batch() -> None:
    norm = BatchNorm(2)
    result = norm(torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * 7 + 3)
    torch.testing.assert_close(result.mean(0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(result.var(0, correction=0), torch.ones(2), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_clean_gradient_travels_through_the_right_weights(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    layer: BinaryLinear | BinaryConv2d
    if kind == "linear":
        layer = BinaryLinear(30, 7, generator=generator)
        inputs = torch.randint(-1, 2, (5, 30), generator=generator).float()
    else:
        layer = BinaryConv2d(3, 7, generator=generator)
        inputs = torch.randint(-1, 2, (5, 3, 4, 6), generator=generator).float()
    with torch.no_grad():
        layer.latent.view(-1)[::5] = 1.5

    def gradients(**options: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        given = inputs.clone().requires_grad_()
        layer.latent.grad = None
        rng = np.random.default_rng(1) if options else None
        found = flipped_product(layer, given, rng=rng, **options)
        weight = torch.arange(found.numel(), dtype=torch.float32).reshape(found.shape)
        (found * weight).sum().backward()
        assert given.grad is not None
        assert layer.latent.grad is not None
        return found.detach(), given.grad, layer.latent.grad

    right = gradients()
    flipped = gradients(ber=0.3)
    clean = gradients(ber=0.3, clean_gradient=True)
    assert torch.equal(clean[0], flipped[0])
    assert not torch.equal(clean[0], right[0])
    torch.testing.assert_close(clean[1], right[1])
    assert not torch.allclose(clean[1], flipped[1])
    # the gradient of the weights does not depend on them
    torch.testing.assert_close(clean[2], right[2])
    assert not clean[2].view(-1)[::5].any()
