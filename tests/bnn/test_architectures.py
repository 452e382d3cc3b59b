import numpy as np
import pytest
import torch

from bnn import BinaryMLP, module_answers
from bnn.architectures import encode_pixels


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
