from typing import Any

import numpy as np
import pytest
import torch

from bnn import (
    EpochResult,
    ImageSet,
    TrainedNetwork,
    TrainingOptions,
    evaluate,
    fold,
    module_answers,
    network_sha256,
    train,
    training_record,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": (10, 0)}, r"hidden must be a tuple of positive integers, got \(10, 0\)"),
        ({"hidden": [10]}, "hidden must be a tuple"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"ber": 1.1}, "ber must be a fraction between 0 and 1, got 1.1"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**{"seed": 0, **changes})


def quick(**changes: Any) -> TrainingOptions:
    options = {"hidden": (20,), "epochs": 2, "batch_size": 100, "seed": 5, **changes}
    return TrainingOptions(**options)


def latent_bytes(trained: TrainedNetwork) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trained.module.state_dict().values())


def test_digits_are_learnt(trained_digits: TrainedNetwork, digits: ImageSet) -> None:
    assert not trained_digits.module.training
    assert len(trained_digits.history) == 30
    last = trained_digits.history[-1]
    assert last.test_accuracy > 0.95
    assert last.train_accuracy > last.test_accuracy
    assert 0 < last.loss < trained_digits.history[0].loss
    answers = module_answers(trained_digits.module, digits.test_images)
    assert (answers == digits.test_labels).sum() == last.test_correct
    for latent in trained_digits.module.latents:
        assert float(latent.detach().abs().max()) <= 1.0


def test_training_with_errors_makes_the_network_more_tolerant(digits: ImageSet) -> None:
    correct = {}
    for ber in (0.0, 0.1):
        options = TrainingOptions(hidden=(128, 128), epochs=12, batch_size=50, ber=ber, seed=2)
        trained = train(digits, options)
        assert trained.history[-1].test_accuracy > 0.92
        counts = evaluate(
            fold(trained.module),
            digits.test_images,
            digits.test_labels,
            ber=[0.1],
            chips=20,
            seed=0,
        )
        correct[ber] = counts.correct.values[0] / 600
    # the two networks are one draw each, the chips are 20: the gain is about 0.15, the standard
    # error of its mean over chips about 0.015
    gain = correct[0.1] - correct[0.0]
    assert gain.mean() > 0.05
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(20)


@pytest.mark.parametrize("ber", [0.0, 0.05])
def test_same_seed_same_bytes(ber: float, digits: ImageSet) -> None:
    first, second, other = (train(digits, quick(ber=ber, seed=seed)) for seed in (5, 5, 6))
    assert latent_bytes(first) == latent_bytes(second)
    assert first.history == second.history
    assert network_sha256(fold(first.module)) == network_sha256(fold(second.module))
    assert latent_bytes(first) != latent_bytes(other)


def test_global_generators_and_threads_are_left_alone(digits: ImageSet) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    train(digits, quick(threads=2, epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_errors_at_training_change_the_result(digits: ImageSet) -> None:
    assert latent_bytes(train(digits, quick())) != latent_bytes(train(digits, quick(ber=0.05)))


def test_progress_gets_every_epoch(digits: ImageSet) -> None:
    seen: list[EpochResult] = []
    trained = train(digits, quick(), progress=seen.append)
    assert tuple(seen) == trained.history
    assert [result.epoch for result in seen] == [1, 2]
    assert {(r.train_images, r.test_images) for r in seen} == {(1197, 600)}


def test_latent_weights_are_clipped(digits: ImageSet) -> None:
    # steps of up to 1 push latent weights against both limits at once
    trained = train(digits, quick(learning_rate=1.0, epochs=1))
    for latent in trained.module.latents:
        assert float(latent.detach().min()) == -1.0
        assert float(latent.detach().max()) == 1.0


def test_network_without_hidden_layer(digits: ImageSet) -> None:
    trained = train(digits, quick(hidden=(), epochs=30))
    assert trained.module.sizes == (64, 10)
    # ten sums of +-pixels: 0.74 was seen, chance is 0.1
    assert trained.history[-1].test_accuracy > 0.6


def tiny(images: int) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 6), dtype=np.uint8)
    return ImageSet(
        name="tiny",
        train_images=pixels,
        train_labels=np.zeros(images, np.int64),
        test_images=pixels,
        test_labels=np.zeros(images, np.int64),
        classes=("a", "b"),
        shape=(6,),
        source="made here",
    )


@pytest.mark.parametrize("images", [2, 3, 5, 101])
def test_no_batch_is_too_small_for_batch_norm(images: int) -> None:
    trained = train(tiny(images), quick(batch_size=2, epochs=1))
    assert trained.history[0].train_images == images


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="tiny: training needs at least 2 images, got 1"):
        train(tiny(1), quick())


def test_record_names_the_image_set(trained_digits: TrainedNetwork, digits: ImageSet) -> None:
    record = training_record(trained_digits)
    assert record["image_set"] == {"name": "digits", "sha256": digits.sha256}
