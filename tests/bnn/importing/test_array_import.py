import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import ImageSet, fold, from_npz
from bnn.engines.packed import packed
from bnn.importing.source_stages import ImportRefusedError
from bnn.networks.network import network_sha256
from bnn.training.exact_answers import module_answers
from bnn.training.training import TrainedNetwork


def arrays_of(trained: TrainedNetwork) -> dict[str, np.ndarray]:
    """A trained network by the layout of the documentation."""
    arrays: dict[str, Any] = {"layers": np.array(["a.0", "b", "c"])}
    for name, latent, norm in zip(
        arrays["layers"], trained.module.latents, trained.module.norms, strict=True
    ):
        arrays[f"{name}.weight"] = np.where(latent.detach() >= 0, 0.3, -0.3)
        # the scale goes into the statistics
        arrays[f"{name}.mean"] = 0.3 * norm.running_mean.double().numpy()  # type: ignore[union-attr, operator]
        arrays[f"{name}.variance"] = 0.09 * norm.running_var.double().numpy()  # type: ignore[union-attr, operator]
        arrays[f"{name}.epsilon"] = np.array(0.09e-5)
        arrays[f"{name}.gamma"] = norm.weight.detach().numpy()
        arrays[f"{name}.beta"] = norm.bias.detach().numpy()
    return arrays


def test_weights_of_a_trained_network(
    trained_digits: TrainedNetwork, digits: ImageSet, tmp_path: Path
) -> None:
    answers = module_answers(trained_digits.module, digits.test_images)
    np.savez(tmp_path / "net.npz", answers=answers[:300], **arrays_of(trained_digits))
    found = from_npz(tmp_path / "net.npz", digits.test_images)
    np.testing.assert_array_equal(
        packed.predict(found.network, packed.prepare(digits.test_images), threads=1), answers
    )
    # the output of one is the scaled output of the other, all else is equal
    folded = fold(trained_digits.module)
    for ours, theirs in zip(found.network.layers[:-1], folded.layers[:-1], strict=True):
        for part in ("weights", "threshold", "direction"):
            np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
    assert found.record["source"] == {
        "format": "npz",
        "file": "net.npz",
        "round_trip_images": 600,
        "tied_images": 0,
        "differ_at_ties": 0,
        "differ_by_hidden_rounding": 0,
        "answers_in_file": 300,
    }
    assert found.record["network_sha256"] == network_sha256(found.network)
    np.savez(tmp_path / "net.npz", answers=9 - answers[:300], **arrays_of(trained_digits))
    with pytest.raises(ImportRefusedError, match="of 300 answers differ from the source"):
        from_npz(tmp_path / "net.npz", digits.test_images)


def convolution() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "layers": np.array(["conv", "out"]),
        "image_shape": np.array([1, 8, 8]),
        "pixel_scale": np.array(2 / 255),
        "pixel_offset": np.array(-1.0),
        "conv.weight": rng.choice([-1, 1], (6, 1, 3, 3)),
        "conv.pool": np.array(2),
        "conv.gamma": rng.normal(size=6),
        "conv.bias": rng.normal(size=6),
        "out.weight": rng.choice([-1, 1], (10, 96)),
        "out.bias": rng.normal(size=10),
    }


def test_a_convolution_is_read_like_pytorch_does(digits: ImageSet, tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **convolution())
    found = from_npz(tmp_path / "net.npz", digits.test_images)
    assert found.network.sizes == (64, 96, 10)
    answers = packed.predict(found.network, packed.prepare(digits.test_images), threads=1)
    assert len(np.unique(answers)) > 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": None}, "'layers' is missing"),
        ({"out.weight": None}, r"'out\.weight' is missing; give \(neurons, inputs\)"),
        ({"conv.bias": np.ones(5)}, r"'conv\.bias' must have the shape \(6,\), got \(5,\)"),
        ({"conv.mean": np.ones(6)}, "one is missing"),
        ({"conv.kernel": np.ones(6)}, r"not understood: 'conv\.kernel'; known are layers"),
        ({"image_shape": None}, "'image_shape' is missing"),
        ({"pixel_offset": np.array(np.nan)}, "must be finite"),
        ({"out.weight": np.ones((10, 96)) * np.arange(96)}, r"by layer: 'out': 99\.0%"),
        ({"conv.pool": np.array(4)}, "the layers do not fit together"),
        ({"conv.epsilon": np.ones(6)}, r"'conv\.epsilon' must be one number, got the shape \(6,\)"),
        ({"conv.pool": np.array([2, 2])}, r"'conv\.pool' must be one number"),
        ({"conv.pool": np.array(0)}, r"'conv\.pool' is 0; give a whole number from 1 on"),
        ({"pixel_scale": np.ones(3)}, "'pixel_scale' must be one number"),
        ({"image_shape": np.array([[1, 8, 8]])}, "'image_shape' is"),
        ({"image_shape": np.array([1.0, 8.0, 8.0])}, "'image_shape' is"),
        ({"conv.variance": -np.ones(6), "conv.mean": np.ones(6)}, "must not be negative"),
        ({"out.weight": np.full((10, 96), "a")}, r"'out\.weight' holds values of the type <U1"),
        ({"out.weight": np.ones((0, 96))}, r"'out\.weight' is of the shape \(0, 96\)"),
        ({"out.bias": np.full(10, np.inf)}, r"'out\.bias' must be finite"),
        ({"answers": np.full(3, "a")}, "'answers' holds values"),
    ],
)
def test_wrong_arrays_are_refused(
    changes: dict[str, Any], message: str, digits: ImageSet, tmp_path: Path
) -> None:
    arrays = {**convolution(), **changes}
    np.savez(tmp_path / "net.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ValueError, match=message):
        from_npz(tmp_path / "net.npz", digits.test_images)


def test_other_files_are_refused(digits: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "net.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"net\.npz: not a \.npz file of plain arrays"):
        from_npz(tmp_path / "net.npz", digits.test_images)
    np.savez(tmp_path / "net.npz", layers=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a .npz file of plain arrays"):
        from_npz(tmp_path / "net.npz", digits.test_images)


def test_compressed_arrays_are_expanded_within_a_bound(
    digits: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes that hold 16 MB; the bound of 1 MB stands for that of real files."""
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **convolution(), answers=np.zeros(2_000_000, np.int64))
    assert path.stat().st_size < 1e5
    monkeypatch.setattr("bnn.importing.array_import.MOST_EXPANDED", 10**6)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"net\.npz: .*take 160.* bytes; at most 1000000"):
            from_npz(path, digits.test_images)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_an_array_whose_header_declares_too_much_is_refused(
    digits: ImageSet, tmp_path: Path
) -> None:
    path = tmp_path / "net.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("layers.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"net\.npz: not a \.npz file"):
        from_npz(path, digits.test_images)
