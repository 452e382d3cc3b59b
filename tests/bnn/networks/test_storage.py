import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from bnn import FoldedNetwork, load_network, save_network
from bnn.machine.stored import document_text
from bnn.networks.network import ConvLayer, HiddenLayer, network_sha256
from bnn.networks.storage import seal_network
from bnn.training.training import TrainedNetwork, training_record

Make = Callable[..., FoldedNetwork]
RECORD = {"seed": 3, "note": "µ", "sizes": [20, 65, 4], "accuracy": {"correct": 5, "images": 9}}


@pytest.fixture
def saved(random_network: Make, tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_network(random_network((20, 65, 4), seed=0), path, record=RECORD)
    return path


def change_twin(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a twin on purpose: its hash fits again."""
    twin_path = path.with_suffix(".json")
    twin = json.loads(twin_path.read_text(encoding="utf-8"))
    change(twin)
    twin_path.write_text(document_text(twin), encoding="utf-8")


def test_round_trip(saved: Path, random_network: Make) -> None:
    network = random_network((20, 65, 4), seed=0)
    loaded, record = load_network(saved)
    assert record == RECORD
    assert loaded.layer_names == network.layer_names
    assert loaded.sizes == network.sizes
    assert network_sha256(loaded) == network_sha256(network)
    for ours, theirs in zip(loaded.layers, network.layers, strict=True):
        parts = ["weights"]
        parts += (
            ["threshold", "direction"] if isinstance(theirs, HiddenLayer) else ["scale", "shift"]
        )
        for part in parts:
            one, other = getattr(ours, part), getattr(theirs, part)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def convolutional(make: Make) -> FoldedNetwork:
    return make((3, 4, 6), ((5, 3, 1), (7, 3, 2), (4, 1, 1)), (6, 3), seed=0)


@pytest.fixture
def saved_conv(random_conv_network: Make, tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_network(convolutional(random_conv_network), path, record=RECORD)
    return path


def test_round_trip_of_convolutions(saved_conv: Path, random_conv_network: Make) -> None:
    network = convolutional(random_conv_network)
    loaded, record = load_network(saved_conv)
    assert record == RECORD
    assert network_sha256(loaded) == network_sha256(network)
    assert loaded.sizes == network.sizes == (72, 120, 42, 24, 6, 3)
    for ours, theirs in zip(loaded.layers[:3], network.layers[:3], strict=True):
        assert isinstance(ours, ConvLayer)
        assert isinstance(theirs, ConvLayer)
        for part in ("name", "channels", "height", "width", "kernel", "pool"):
            assert getattr(ours, part) == getattr(theirs, part)
            assert type(getattr(ours, part)) is type(getattr(theirs, part))
        for part in ("weights", "threshold", "direction"):
            assert getattr(ours, part).dtype == getattr(theirs, part).dtype
            np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))


def test_twin_of_a_fully_connected_network(saved: Path) -> None:
    twin = json.loads(saved.with_suffix(".json").read_text(encoding="utf-8"))
    assert twin["format_version"] == 3
    assert twin["layers"] == [
        {"name": "hidden_1", "kind": "hidden", "rows": 65, "columns": 20},
        {"name": "output", "kind": "output", "rows": 4, "columns": 65},
    ]
    assert list(twin["layers"][0]) == ["name", "kind", "rows", "columns"]


def test_twin_of_convolutions(saved_conv: Path) -> None:
    twin = json.loads(saved_conv.with_suffix(".json").read_text(encoding="utf-8"))
    assert twin["format_version"] == 3
    shape = {"channels": 5, "height": 4, "width": 6, "kernel": 3, "pool": 2}
    assert twin["layers"][1] == {"name": "hidden_2", "kind": "conv", "rows": 7, **shape}
    assert twin["layers"][3] == {"name": "hidden_4", "kind": "hidden", "rows": 6, "columns": 24}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["layers"][0].pop("height"), "layer 'hidden_1': 'height' is missing"),
        (lambda t: t["layers"][0].update(height=4.0), r"height must be an int .* got 4\.0"),
        (lambda t: t["layers"][0].update(channels=2), "bits beyond column 17 must be zero"),
        (lambda t: t["layers"][0].update(height=6, width=4), "'hidden_2' reads 5 channels of 4 x"),
        (lambda t: t["layers"][1].update(pool=1), "'hidden_3' reads 7 channels of 2 x 3"),
        (lambda t: t["layers"][1].update(kind="hidden"), "layer 'hidden_2': 'columns' is missing"),
    ],
)
def test_a_changed_twin_of_convolutions_is_refused(
    change: Callable[[dict[str, Any]], object], message: str, saved_conv: Path
) -> None:
    change_twin(saved_conv, change)
    with pytest.raises(ValueError, match=message):
        load_network(saved_conv)


def test_another_shape_of_the_same_size_is_noticed(
    random_conv_network: Make, tmp_path: Path
) -> None:
    # a twin whose shapes fit together, only not with the hash
    path = tmp_path / "net.safetensors"
    save_network(random_conv_network((1, 4, 4), ((2, 3, 1),), (3,), seed=0), path, record={})
    change_twin(path, lambda t: t["layers"][0].update(height=2, width=8))
    with pytest.raises(ValueError, match="network_sha256 does not fit"):
        load_network(path)


def test_saving_twice_gives_the_same_bytes(saved: Path, random_network: Make) -> None:
    again = saved.parent / "again.safetensors"
    save_network(random_network((20, 65, 4), seed=0), again, record=RECORD)
    assert again.read_bytes() == saved.read_bytes()
    assert again.with_suffix(".json").read_bytes() == saved.with_suffix(".json").read_bytes()


def test_only_the_two_files_are_left(saved: Path) -> None:
    assert sorted(p.name for p in saved.parent.iterdir()) == ["net.json", "net.safetensors"]


def test_record_of_a_training_can_be_saved(
    trained_digits: TrainedNetwork, folded_digits: FoldedNetwork, tmp_path: Path
) -> None:
    record = training_record(trained_digits)
    save_network(folded_digits, tmp_path / "digits.safetensors", record=record)
    assert load_network(tmp_path / "digits.safetensors")[1] == record
    assert record["training"]["seed"] == 1
    assert record["architecture"]["sizes"] == [64, 130, 100, 10]
    assert record["history"][-1]["test_images"] == 600
    assert set(record["versions"]) >= {"python", "numpy", "torch", "rram-reliability"}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_write_leaves_the_old_pair_or_is_noticed(
    failing: int, saved: Path, random_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_network(saved)[0]
    replace, calls = os.replace, 0

    def fail(source: str, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError("disk gone")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        save_network(random_network((20, 65, 4), seed=1), saved, record=RECORD)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["net.json", "net.safetensors"]
    if failing == 1:
        assert network_sha256(load_network(saved)[0]) == network_sha256(before)
    else:
        # killed between the two renames: never taken for a network
        with pytest.raises(ValueError, match="belongs to another twin"):
            load_network(saved)


@pytest.mark.parametrize("record", [{"x": float("nan")}, {"x": {1, 2}}, {"x": np.int64(3)}])
def test_a_record_that_is_not_json_changes_nothing(
    record: dict[str, Any], saved: Path, random_network: Make
) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="record must hold plain finite numbers"):
        save_network(random_network((20, 65, 4), seed=1), saved, record=record)
    assert saved.read_bytes() == before
    assert load_network(saved)[1] == RECORD


def test_suffix_is_checked(random_network: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.safetensors, got .*net\.json"):
        save_network(random_network((3, 2), seed=0), tmp_path / "net.json", record={})
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        load_network(tmp_path / "net.pkl")


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_missing_half_is_named(suffix: str, saved: Path) -> None:
    saved.with_suffix(suffix).unlink()
    with pytest.raises(FileNotFoundError, match=rf"net\{suffix} is missing; a network is the pair"):
        load_network(saved)


@pytest.mark.parametrize("place", [0, 200, -1])
def test_a_changed_byte_is_noticed(place: int, saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.safetensors: SHA-256 .* differs"):
        load_network(saved)


def test_a_cut_file_is_noticed(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"SHA-256 .* differs"):
        load_network(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(format="other"), "format must be 'rram-reliability folded network'"),
        (lambda t: t.update(format_version=4), "format version 4, this release reads 3"),
        (lambda t: t.update(format_version=True), "format version True"),
        (lambda t: t.update(layers=[3]), "net.json: TypeError"),
        (lambda t: t["layers"][0].update(columns=20.0), "columns must be an int"),
        (lambda t: t.pop("format_version"), "format version None"),
        (lambda t: t.pop("record"), "'record' is missing or not a dict"),
        (lambda t: t.update(layers={}), "'layers' is missing or not a list"),
        (lambda t: t["layers"][0].update(columns=19), "bits beyond column 18 must be zero"),
        (lambda t: t["layers"][0].update(columns=70), "70 columns"),
        (lambda t: t["layers"][0].update(columns=21), "network_sha256 does not fit"),
        (lambda t: t["layers"][0].update(rows=64), "65 rows of weights, the twin says 64"),
        (
            lambda t: t["layers"][0].update(kind="pool"),
            "unknown kind 'pool'; known: hidden, conv, output",
        ),
        (lambda t: t["layers"][0].update(name="first"), r"tensor 'first\.weights' is missing"),
        (lambda t: t["layers"][0].pop("name"), "name"),
        (lambda t: t["layers"].append(t["layers"][0]), r"'hidden_1\.weights' is missing"),
        (lambda t: t["layers"].pop(0), r"unknown tensors 'hidden_1\.direction'"),
        (lambda t: t["layers"][0].pop("columns"), "layer 'hidden_1': 'columns' is missing"),
        (lambda t: t["layers"].reverse(), "layer 0 must be the ConvLayer or HiddenLayer"),
    ],
)
def test_a_changed_twin_is_refused(
    change: Callable[[dict[str, Any]], object], message: str, saved: Path
) -> None:
    change_twin(saved, change)
    with pytest.raises(ValueError, match=message) as caught:
        load_network(saved)
    assert "net." in str(caught.value)


def test_a_twin_that_is_no_json_is_refused(saved: Path) -> None:
    saved.with_suffix(".json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"net\.json: not a twin of a folded network.*\(Expec"):
        load_network(saved)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"note": "µ"', '"note": "u"'), ('"rows": 65', '"rows": 64'), ('"images": 9', '"images": 8')],
)
def test_any_change_of_a_twin_is_noticed(old: str, new: str, saved: Path) -> None:
    twin_path = saved.with_suffix(".json")
    text = twin_path.read_text(encoding="utf-8")
    assert old in text
    twin_path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=r"net\.json: .*content_sha256.*damaged or was changed"):
        load_network(saved)


@pytest.mark.parametrize("version", [1, 2])
def test_a_twin_without_hash_is_refused_until_it_is_sealed(version: int, saved: Path) -> None:
    """As releases wrote it before twins had a hash."""
    twin_path, sealed = saved.with_suffix(".json"), saved.with_suffix(".json").read_bytes()
    twin = json.loads(sealed)
    del twin["content_sha256"]
    twin_path.write_text(json.dumps(twin | {"format_version": version}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no hash .* inspect --seal .*net\.safetensors`"):
        load_network(saved)
    before = saved.read_bytes()
    seal_network(saved)
    assert twin_path.read_bytes() == sealed
    assert saved.read_bytes() == before
    seal_network(saved)
    assert twin_path.read_bytes() == sealed


def test_a_twin_of_this_version_without_hash_is_refused(saved: Path) -> None:
    twin_path = saved.with_suffix(".json")
    twin = json.loads(twin_path.read_text(encoding="utf-8"))
    del twin["content_sha256"]
    twin_path.write_text(json.dumps(twin), encoding="utf-8")
    for read in (load_network, seal_network):
        with pytest.raises(ValueError, match="content_sha256 is None"):
            read(saved)


def test_tensors_with_the_right_hash_but_wrong_shapes_are_refused(saved: Path) -> None:
    arrays = safetensors.numpy.load_file(saved)
    arrays["hidden_1.threshold"] = arrays["hidden_1.threshold"][:-1].copy()
    tensors = safetensors.numpy.save(arrays)
    saved.write_bytes(tensors)
    change_twin(saved, lambda t: t.update(tensors_sha256=hashlib.sha256(tensors).hexdigest()))
    with pytest.raises(ValueError, match=r"threshold must be int32 with the shape \(65,\)"):
        load_network(saved)


def test_other_bytes_with_the_right_hash_are_refused(saved: Path) -> None:
    saved.write_bytes(b"pickle?")
    change_twin(saved, lambda t: t.update(tensors_sha256=hashlib.sha256(b"pickle?").hexdigest()))
    with pytest.raises(ValueError, match=r"net\.safetensors: not a file of the tensors"):
        load_network(saved)


@pytest.mark.parametrize("text", ["{}", '{"format": "mine"}', "", "folder", "link"])
def test_file_that_has_the_name_of_the_twin_stays(
    random_network: Make, tmp_path: Path, text: str
) -> None:
    """It was overwritten without a word."""
    twin = tmp_path / "net.json"
    if text == "folder":
        twin.mkdir()
    elif text == "link":
        twin.symlink_to("nothing")
    else:
        twin.write_text(text)
    with pytest.raises(FileExistsError, match="is there and not the twin of a network"):
        save_network(
            random_network((20, 65, 4), seed=0), tmp_path / "net.safetensors", record=RECORD
        )
    assert [path.name for path in tmp_path.iterdir()] == ["net.json"]
    assert text in ("folder", "link") or twin.read_text() == text


def test_names_that_are_no_text_are_kept(random_network: Make, tmp_path: Path) -> None:
    record = {"source": {"file": "\udcff.onnx"}}
    path = tmp_path / "net.safetensors"
    save_network(random_network((20, 65, 4), seed=0), path, record=record)
    assert load_network(path)[1] == record
