import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from bnn import ImageSet, TrainingOptions, evaluate, fold, load_network, save_network, train
from bnn.engines.packed import packed
from bnn.networks.network import network_sha256
from bnn.training.architectures import BinaryMLP, drawn_weights
from bnn.training.checkpoints import _RESULT, HASH, _content_sha256, save_checkpoint
from bnn.training.exact_answers import module_answers
from bnn.training.layers import draw_weights
from bnn.training.options import Augmentation, Convolutions
from bnn.training.redrawn_flips import negate_redrawn
from bnn.training.training import EpochResult, TrainedNetwork, check_resumable, training_record


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
        ({"ber": 0.1, "ber_from": 0.2}, "ber_from must lie between 0 and ber = 0.1, got 0.2"),
        ({"gradient": "both"}, "unknown gradient 'both'; known: flipped, clean"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; known: cross-entropy, squared hinge"),
        ({"margin": -1.0}, "margin must be not negative, got -1.0"),
        ({"loss": "squared hinge"}, "margin must be positive with the squared hinge"),
        ({"arithmetic": "float16"}, "unknown arithmetic 'float16'; known: float32, bfloat16"),
        ({"device": "gpu"}, "unknown device 'gpu'; known: cpu, cuda, cuda:N"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**{"seed": 0, **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Convolutions(channels=()), "channels must be a tuple of positive integers"),
        (lambda: Convolutions(pool_after=0), "pool_after must be at least 1, got 0"),
        (lambda: Convolutions(kernel=4), "kernel must be odd and positive, got 4"),
        (lambda: Augmentation(shift=-1), "shift must not be negative, got -1"),
    ],
)
def test_bad_parts_of_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


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


def test_every_step_has_a_rate_of_its_own(
    digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def note(values: np.ndarray, *, ber: float, rng: np.random.Generator) -> None:
        rates.append(ber)
        negate_redrawn(values, ber=ber, rng=rng)

    monkeypatch.setattr("bnn.training.layers.negate_redrawn", note)
    train(digits, quick(ber=0.12, ber_from=0.02, epochs=3))
    # two layers, 11 steps in an epoch
    steps = np.array(rates).reshape(33, 2)
    np.testing.assert_array_equal(steps[:, 0], steps[:, 1])
    assert 0.02 <= steps.min() < 0.04
    assert 0.10 < steps.max() <= 0.12
    # mean of 33 uniform numbers, z = 4
    assert abs(steps.mean() - 0.07) < 4 * 0.1 / np.sqrt(12 * 33)


def test_a_range_of_one_rate_is_that_rate(digits: ImageSet) -> None:
    rates: dict[float, bytes] = {}
    for lowest in (0.05, 0.0):
        rates[lowest] = latent_bytes(train(digits, quick(ber=0.05, ber_from=lowest)))
    assert rates[0.05] != rates[0.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"ber": 0.05, "gradient": "clean"},
        {"margin": 2.0},
        {"loss": "squared hinge", "margin": 1.0},
        {"augmentation": Augmentation(shift=1, mirror=False)},
    ],
)
def test_options_change_the_training_and_it_learns(
    changes: dict[str, Any], digits: ImageSet
) -> None:
    options = {"hidden": (60,), "epochs": 8, "batch_size": 50, "ber": changes.get("ber", 0.0)}
    plain = train(digits, TrainingOptions(seed=1, **options))
    other = train(digits, TrainingOptions(seed=1, **{**options, **changes}))
    assert latent_bytes(plain) != latent_bytes(other)
    # 0.77 with augmentation, 0.88 and more without were seen
    assert other.history[-1].test_accuracy > 0.6
    assert other.history[-1].loss < other.history[0].loss


def stripes() -> ImageSet:
    """Random grey levels in rows or in columns: no single pixel tells the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 160)
    images = np.repeat(rng.integers(0, 256, (160, 8), dtype=np.uint8)[:, :, None], 8, axis=2)
    images[labels == 1] = images[labels == 1].transpose(0, 2, 1)
    pixels = images.reshape(160, 64)
    return ImageSet(
        name="stripes",
        train_images=pixels[:120],
        train_labels=labels[:120],
        test_images=pixels[120:],
        test_labels=labels[120:],
        classes=("rows", "columns"),
        shape=(8, 8),
        source="made here",
    )


def convolutional(**changes: Any) -> TrainingOptions:
    options: dict[str, Any] = {
        "hidden": (8,),
        "convolutions": Convolutions(channels=(8, 8), pool_after=2),
        "augmentation": Augmentation(shift=2),
        "epochs": 12,
        "batch_size": 20,
        "learning_rate": 0.02,
        "ber": 0.02,
        "seed": 3,
        **changes,
    }
    return TrainingOptions(**options)


def test_a_convolutional_network_is_trained_and_folded(tmp_path: Path) -> None:
    images = stripes()
    trained = train(images, convolutional())
    assert trained.history[-1].test_accuracy > 0.7
    network = fold(trained.module)
    assert network.sizes == (64, 512, 128, 8, 2)
    record = training_record(trained)
    assert record["architecture"] == {"kind": "convolutional", "sizes": [64, 512, 128, 8, 2]}
    save_network(network, tmp_path / "net.safetensors", record=record)
    assert load_network(tmp_path / "net.safetensors")[1] == record
    assert record["training"]["convolutions"] == {"channels": [8, 8], "pool_after": 2, "kernel": 3}
    np.testing.assert_array_equal(
        packed.predict(network, packed.prepare(images.test_images), threads=1),
        module_answers(trained.module, images.test_images),
    )


class Stopped(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 7, 12, 20])
def test_an_interrupted_training_ends_with_the_same_bytes(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = stripes()
    options = convolutional(epochs=4, ber_from=0.0)
    whole = train(images, options)
    file = tmp_path / "training.safetensors"
    done = 0
    finish = save_checkpoint

    def stop(*arguments: Any, **named: Any) -> None:
        nonlocal done
        finish(*arguments, **named)
        done += 1
        if done == steps:
            raise Stopped

    monkeypatch.setattr("bnn.training.training.save_checkpoint", stop)
    with pytest.raises(Stopped):
        train(images, options, checkpoint=file, checkpoint_seconds=0.0)
    # 6 batches make an epoch, so this stops within one or right after one
    monkeypatch.undo()
    seen: list[EpochResult] = []
    rest = train(images, options, checkpoint=file, progress=seen.append)
    assert latent_bytes(rest) == latent_bytes(whole)
    assert rest.history == whole.history
    # the epoch after whose last step it stopped is not counted yet
    assert len(seen) == 4 - (steps - 1) // 6
    again = train(images, options, checkpoint=file, progress=seen.append)
    assert latent_bytes(again) == latent_bytes(whole)
    assert len(seen) == 4 - (steps - 1) // 6


def test_wrong_checkpoints_are_refused(tmp_path: Path) -> None:
    images, file = stripes(), tmp_path / "training.safetensors"
    train(images, convolutional(epochs=1), checkpoint=file)
    with pytest.raises(ValueError, match="the checkpoint of another training"):
        train(images, convolutional(epochs=2), checkpoint=file)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-9] + b"\1" + whole[-8:], whole.replace(b"epoch", b"epocl")):
        assert damaged != whole
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="training.safetensors: not a checkpoint of this"):
            train(images, convolutional(epochs=1), checkpoint=file)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": -1}, "epoch is -1; it must be a whole number"),
        ({"correct": "many"}, "correct is 'many'"),
        ({"loss_sum": 10**400}, "loss_sum is .* must be a finite number"),
        ({"schedule": 3}, "TypeError|AttributeError"),
        ({"groups": [{}]}, "KeyError|ValueError|param|missing"),
        ({"rngs": {}}, "is missing"),
        ({"history": [{"more": 1}]}, "the result of an epoch is"),
        ({"history": 3}, "TypeError"),
        ({"format": "rram-reliability training checkpoint 1"}, "its format is"),
    ],
)
def test_states_that_cannot_be_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """With a hash that fits."""
    images, file = stripes(), tmp_path / "training.safetensors"
    train(images, convolutional(epochs=1), checkpoint=file)
    tensors = safetensors.torch.load_file(file)
    with safetensors.safe_open(file, framework="pt") as opened:
        state = json.loads(opened.metadata()["state"]) | change
    text = json.dumps(state)
    metadata = {"state": text, HASH: _content_sha256(text, tensors)}
    safetensors.torch.save_file(tensors, file, metadata=metadata)
    with pytest.raises(ValueError, match=f"training.safetensors: .*({message})"):
        train(images, convolutional(epochs=1), checkpoint=file)


def test_results_of_epochs_are_known_to_checkpoints() -> None:
    assert {field.name for field in dataclasses.fields(EpochResult)} == _RESULT


def test_a_checkpoint_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    images, file = stripes(), tmp_path / "training.safetensors"
    check_resumable(images, convolutional(epochs=1), checkpoint=file)
    train(images, convolutional(epochs=1), checkpoint=file)
    check_resumable(images, convolutional(epochs=1), checkpoint=file)
    with pytest.raises(ValueError, match="the checkpoint of another training"):
        check_resumable(images, convolutional(epochs=2), checkpoint=file)


def test_compiled_steps_are_those_of_pytorch(digits: ImageSet, tmp_path: Path) -> None:
    options = quick(hidden=(40,), epochs=1, ber=0.05, ber_from=0.0, gradient="clean")
    plain = train(digits, options)
    compiled = dataclasses.replace(options, compiled=True)
    file = tmp_path / "training.safetensors"
    fused = train(digits, compiled, checkpoint=file, checkpoint_seconds=0.0)
    # 11 steps of about 5e-3: sums in another order move a weight by far less, but where a sign
    # tips the rest of the way differs
    for one, other in zip(plain.module.latents, fused.module.latents, strict=True):
        off = (one - other).detach().abs()
        assert float(off.median()) < 1e-5
    assert abs(plain.history[0].loss - fused.history[0].loss) < 0.02
    assert latent_bytes(train(digits, compiled)) == latent_bytes(fused)


def test_products_in_bfloat16_are_exact_where_sums_are_small() -> None:
    module = BinaryMLP((2, 60, 100, 3), seed=1)
    pixels = torch.zeros((1, 2), dtype=torch.uint8)
    signs = torch.where(torch.rand(20, 60, generator=torch.Generator().manual_seed(0)) < 0.5, -1, 1)
    layer = module.linears[1]
    weights = draw_weights(module.latents[1])
    found = layer(signs.bfloat16(), weights.cast(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.float(), layer(signs.float()))
    module.train()
    drawn = drawn_weights(module, 0.0, None, False)
    assert module.scores(pixels.expand(4, 2), drawn, torch.bfloat16).dtype == torch.float32


@pytest.mark.parametrize("make", [quick, convolutional])
def test_bfloat16_learns_as_float32_does(make: Any, digits: ImageSet) -> None:
    images = digits if make is quick else stripes()
    options = make(epochs=12, hidden=(40,), ber=0.0)
    results = [
        train(images, dataclasses.replace(options, arithmetic=a)) for a in ("float32", "bfloat16")
    ]
    exact, rounded = (result.history[-1] for result in results)
    assert latent_bytes(results[0]) != latent_bytes(results[1])
    # binomial error of a difference of two trainings on the same images, z = 4
    images_count = exact.test_images
    p = exact.test_accuracy
    assert abs(rounded.test_accuracy - p) < 4 * np.sqrt(2 * p * (1 - p) / images_count) + 0.02


def test_a_training_begins_with_another(tmp_path: Path) -> None:
    images, file, own = stripes(), tmp_path / "first.safetensors", tmp_path / "own.safetensors"
    first = train(images, convolutional(), checkpoint=file)
    options = convolutional(epochs=1, seed=8, learning_rate=1e-9, ber=0.0)
    second = train(images, options, initial=file, checkpoint=own)
    for one, other in zip(first.module.latents, second.module.latents, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="the checkpoint of another training"):
        train(images, options, checkpoint=own)
    with pytest.raises(ValueError, match="the checkpoint of another architecture"):
        train(images, convolutional(hidden=(9,)), initial=file)
    with pytest.raises(ValueError, match=r"nothing: cannot be read"):
        train(images, options, initial=tmp_path / "nothing")


def test_what_a_machine_lacks_is_named(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match="device 'cuda:1': PyTorch finds no CUDA here; use cpu"):
        train(digits, quick(device="cuda:1"))
    with pytest.raises(ValueError, match="compiled training needs a C\\+\\+ compiler"):
        train(digits, quick(compiled=True))
