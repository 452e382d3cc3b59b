"""Statistics of batch norm: measured again, and those that a training normalises with."""

import numpy as np
import pytest
import torch

from bnn import ImageSet, TrainingOptions, train
from bnn.training.architectures import BinaryMLP, encode_pixels
from bnn.training.batch_statistics import BATCH_IMAGES, measure_statistics
from bnn.training.layers import BatchNorm, binarize


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_measured_statistics_are_those_of_the_images(digits: ImageSet) -> None:
    module = BinaryMLP((64, 30, 10), seed=2).eval()
    images = digits.train_images[:BATCH_IMAGES]
    measure_statistics(module, images, ber=0.0, rng=rng())
    # reference: matrix product and moments in numpy
    z = encode_pixels(torch.tensor(images)).numpy() @ binarize(module.latents[0]).detach().numpy().T
    norm = module.norms[0]
    assert isinstance(norm, BatchNorm)
    np.testing.assert_allclose(norm.running_mean, z.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, z.var(0, ddof=1), rtol=1e-5)
    assert not module.training
    assert norm.momentum == 0.1


def test_flips_shrink_the_measured_means(digits: ImageSet) -> None:
    module = BinaryMLP((64, 400, 10), seed=2)
    norm = module.norms[0]
    assert isinstance(norm, BatchNorm)
    means = {}
    for ber in (0.0, 0.25):
        measure_statistics(module, digits.train_images, ber=ber, rng=rng())
        means[ber] = norm.running_mean.numpy().copy()
    # a weight that is wrong with the probability p counts 1 - 2 p times; three draws, 400 neurons
    slope = (means[0.25] @ means[0.0]) / (means[0.0] @ means[0.0])
    assert 0.4 < slope < 0.6


def test_normalising_with_running_statistics_is_what_the_evaluation_does() -> None:
    norm = BatchNorm(3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
        norm.running_mean.copy_(torch.tensor([2.0, -1.0, 0.0]))
        norm.running_var.copy_(torch.tensor([4.0, 2.0, 1.0]))
    z = torch.randn(50, 3, generator=generator) * 1.5 + 0.5
    expected = norm.eval()(z)
    norm.train()
    norm.by_running = True
    torch.testing.assert_close(norm(z).double(), expected, rtol=1e-4, atol=1e-5)
    # and the running statistics move on as usual
    torch.testing.assert_close(
        norm.running_mean, 0.9 * torch.tensor([2.0, -1.0, 0.0]) + 0.1 * z.mean(0)
    )


@pytest.mark.parametrize("shape", [(40, 3), (10, 3, 4, 4)])
def test_the_gradient_is_that_of_a_normalisation_by_the_batch(shape: tuple[int, ...]) -> None:
    # where running and batch statistics agree both give the same values and the same gradient
    z = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    dims = [0, *range(2, len(shape))]
    gradients = []
    for by_running in (False, True):
        norm = BatchNorm(3)
        with torch.no_grad():
            norm.running_mean.copy_(z.mean(dims))
            norm.running_var.copy_(z.var(dims, correction=0))
        norm.by_running = by_running
        inputs = z.clone().requires_grad_()
        norm(inputs).pow(3).sum().backward()
        gradients.append(inputs.grad)
    assert gradients[0] is not None
    assert gradients[0].abs().max() > 0.1
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


def quick(**changes: object) -> TrainingOptions:
    return TrainingOptions(**{"hidden": (60,), "epochs": 6, "seed": 3, **changes})


def test_statistics_of_a_training_are_measured_at_the_end(digits: ImageSet) -> None:
    plain = train(digits, quick(ber=0.2))
    measured = train(digits, quick(ber=0.2, statistics_ber=0.0))
    for one, other in zip(plain.module.latents, measured.module.latents, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    again = plain.module
    measure_statistics(again, digits.train_images, ber=0.0, rng=rng())
    for norm, expected in zip(measured.module.norms, again.norms, strict=True):
        torch.testing.assert_close(norm.running_mean, expected.running_mean, rtol=1e-6, atol=0)
    assert measured.history[:-1] == plain.history[:-1]
    # weights without errors and statistics without errors belong together
    assert measured.history[-1].test_correct > plain.history[-1].test_correct


def test_running_statistics_begin_with_the_second_epoch(digits: ImageSet) -> None:
    by_batch = train(digits, quick(ber=0.1)).history
    by_running = train(digits, quick(ber=0.1, normalise_by="running")).history
    assert by_batch[0] == by_running[0]
    assert by_batch[1] != by_running[1]
    assert by_running[-1].test_accuracy > 0.6
