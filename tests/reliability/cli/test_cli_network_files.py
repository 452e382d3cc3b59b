"""Commands about network files."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from bnn import (
    TrainingOptions,
    evaluate,
    fold,
    load_images,
    load_network,
    open_network,
    save_network,
    train,
)
from reliability.networks.study import load_counts, name_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = load_images("digits")
    path = tmp_path_factory.mktemp("networks") / "net.safetensors"
    options = TrainingOptions(hidden=(40,), epochs=8, batch_size=50, seed=1)
    save_network(fold(train(images, options).module), path, record={"training": {"ber": 0.0}})
    return path


def test_thresholds_are_folded_for_a_rate(
    trained: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    found = call("calibrate", trained, "--ber", 0.1, "--out", "for.safetensors")
    assert found.returncode == 0, found.stderr
    assert found.stdout == "network, thresholds folded for p = 0.1: for.safetensors\n"
    network, record = load_network(tmp_path / "for.safetensors")
    before, _ = load_network(trained)
    np.testing.assert_array_equal(network.layers[0].weights, before.layers[0].weights)
    changed = network.layers[0].threshold != before.layers[0].threshold  # type: ignore[union-attr]
    assert changed.mean() > 0.5
    assert record["thresholds"]["images"] == 1197
    assert name_of(record) == "standard, thresholds folded for p = 0.1"
    again = call("calibrate", "for.safetensors", "--out", "counts.nc")
    assert again.returncode == 2
    assert "are folded for p = 0.1; start from the network as trained" in again.stderr


def test_chips_are_calibrated(trained: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    options = ("--chips", 2, "--threads", 1)
    found = call("calibrate", trained, "--out", "own.nc", "--calibration-images", 200, *options)
    assert found.returncode == 0, found.stderr
    assert call("evaluate", trained, "--out", "fixed.nc", *options).returncode == 0
    own, fixed = (load_counts(tmp_path / name) for name in ("own.nc", "fixed.nc"))
    assert own.record["thresholds"]["images"] == 200
    assert name_of(own.record) == "standard, thresholds calibrated per chip"
    assert name_of(fixed.record) == "standard"
    assert (own.counts.flips == fixed.counts.flips).all()
    gain = (own.counts.correct - fixed.counts.correct).sel(ber=0.15) / 600
    # 0.1 seen
    assert float(gain.mean()) > 0.03
    made = call("calibrate", trained, "--thresholds", "folded", "--out", "folded.nc", *options)
    assert made.returncode == 0, made.stderr
    assert made.stdout == "counts, thresholds folded for each BER: folded.nc\n"
    folded = load_counts(tmp_path / "folded.nc")
    assert name_of(folded.record) == "standard, thresholds folded for each BER"
    assert (folded.counts.flips == fixed.counts.flips).all()
    gain = (folded.counts.correct - fixed.counts.correct).sel(ber=0.15) / 600
    assert float(gain.mean()) > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "a.safetensors"), "must end in .nc"),
        (("--ber", 0.1, "--out", "a.nc"), "must end in .safetensors"),
        (("--ber", 0.5, "--out", "a.safetensors"), "give a rate between 0 and 0.5"),
        (("--out", "a.nc", "--calibration-images", 2000), "digits has 1197 training images"),
        (("--out", "a.nc", "--thresholds", "best"), "known: folded, calibrated; as trained"),
        (("--out", "a.nc", "--thresholds", "fixed"), "as trained they are counted by `evaluate`"),
        (("--ber", 0.1, "--chips", 5, "--out", "a.safetensors"), "--chips goes without --ber"),
        (("--ber", "nan", "--out", "a.safetensors"), "give a rate between 0 and 0.5"),
        (
            ("--ber", 0.1, "--thresholds", "folded", "--out", "a.safetensors"),
            "--thresholds goes without --ber",
        ),
    ],
)
def test_wrong_use_of_calibrate(
    trained: Path, call: Callable[..., Any], arguments: tuple[object, ...], message: str
) -> None:
    found = call("calibrate", trained, *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "net.npz",
        layers=np.array(["one", "two"]),
        **{
            "one.weight": rng.choice([-1, 1], (30, 64)),
            "one.gamma": rng.normal(size=30),
            "two.weight": rng.choice([-1, 1], (10, 30)),
        },  # type: ignore[arg-type]
    )
    return tmp_path / "net.npz"


def test_a_foreign_network_is_imported_and_looked_at(
    foreign: Path, trained: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    found = call("import", foreign, "--out", "net.safetensors")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "64-30-10: same answers as the source on 500 images"
    tied = lines[1]
    assert "images have tied best scores: the lowest of those classes is answered, as the" in tied
    assert lines[2].startswith("test images right: ")
    assert lines[2].endswith(" of 600")
    network, record = load_network(tmp_path / "net.safetensors")
    assert name_of(record) == "imported"
    falling = int((network.layers[0].direction < 0).sum())  # type: ignore[union-attr]
    assert 0 < falling < 30
    assert call("inspect", "net.safetensors").stdout.splitlines()[:6] == [
        "sizes: 64-30-10",
        f"hidden_1: fully connected, 64 to 30, 1920 weight bits, 30 thresholds ({falling} falling, "
        "0 constant)",
        "output: fully connected, 30 to 10, 300 weight bits, affine output",
        "weight bits: 2220",
        "thresholds: fixed",
        f"from: net.npz (npz), same answers as the source on 500 images; {tied}",
    ]
    assert "from: training on images that the record" in call("inspect", trained).stdout
    # it goes on like a network that was trained here
    made = call("calibrate", "net.safetensors", "--ber", 0.1, "--out", "for.safetensors")
    assert made.returncode == 0, made.stderr
    assert "thresholds: folded for p = 0.1\n" in call("inspect", "for.safetensors").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.npz", "--out", "a.safetensors"), "none.npz: no such file"),
        (("net.npz", "--out", "a.pt"), "must end in .safetensors"),
        (("net.npz", "--out", "a.safetensors", "--encoding", "unit"), "a .npz file says itself"),
        (("net.onnx", "--out", "a.safetensors", "--encoding", "0.1,0"), "or MEAN,STD such as"),
        (("net.onnx", "--out", "a.safetensors"), "pip install 'rram-reliability[onnx]'"),
        (("net.pt", "--out", "a.safetensors"), "unknown suffix; known: .onnx, .h5, .hdf5, .npz."),
        (("bad.npz", "--out", "a.safetensors"), "by layer: 'one': 100.0%"),
    ],
)
def test_wrong_use_of_import(
    foreign: Path,
    tmp_path: Path,
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    # as if it were not installed
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in ("net.onnx", "net.pt"):
        (tmp_path / name).touch()
    np.savez(
        tmp_path / "bad.npz",
        layers=np.array(["one"]),
        **{"one.weight": np.ones((10, 64)) * (1 + np.arange(64))},  # type: ignore[arg-type]
    )
    found = call("import", *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.glob("a.*"))


def test_copied_neurons_answer_alike_and_are_counted(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    first = ("widen", "zoo:digits-standard", "--copies")
    found = call(*first, "hidden_1=3", "--out", "three.safetensors")
    assert found.returncode == 0, found.stderr
    # 64 x 256 + 256 x 256 + 256 x 10, of which the first two grow to three times as many
    assert "84480 weight bits become 248320, 1.9e+02 % more" in found.stdout
    plain, record = open_network("zoo:digits-standard")
    wide, kept = open_network(str(tmp_path / "three.safetensors"))
    images = load_images("digits")
    data = (images.test_images, images.test_labels)
    counts = [evaluate(n, *data, ber=[0.0], chips=1, seed=1) for n in (plain, wide)]
    assert counts[0]["correct"].item() == counts[1]["correct"].item()
    assert kept["training"] == record["training"]
    assert kept["architecture"]["sizes"] == [64, 768, 256, 10]
    assert name_of(kept) == "standard, hidden_1 x 3"

    again = call(
        *("widen", "three.safetensors", "--copies", "hidden_1=2", "--copies", "hidden_2=2"),
        *("--out", "six.safetensors"),
    )
    assert again.returncode == 0, again.stderr
    assert open_network(str(tmp_path / "six.safetensors"))[1]["copies"] == {
        "hidden_1": 6,
        "hidden_2": 2,
    }
    for wrong, words in (
        (("hidden_1",), "LAYER=NUMBER"),
        (("hidden_1=2", "--copies", "hidden_1=3"), "twice"),
        (("output=2",), "one row for each class"),
        (("hidden_7=2",), "unknown layers 'hidden_7'"),
    ):
        refused = call(*first, *wrong, "--out", "none.safetensors")
        assert refused.returncode == 2
        assert words in refused.stderr
    assert not (tmp_path / "none.safetensors").exists()


@pytest.mark.parametrize(
    "text", ["../../outside/victim", "/outside/victim", "results", "x\n\x1b[2J"]
)
def test_texts_of_a_record_do_not_become_paths(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., Any],
    text: str,
) -> None:
    """A crafted record overwrote a file outside --out, or our own results."""
    victim = tmp_path / "outside" / "victim.json"
    victim.parent.mkdir()
    victim.write_text("precious")
    named = text.replace("/outside", f"{tmp_path}/outside") if text[0] == "/" else text
    network, record = load_network(trained)
    record = {**record, "training": {"ber": 0.0, "loss": named}}
    save_network(network, tmp_path / "n.safetensors", record=record)

    def save(study: object, stage: Path) -> None:
        (stage / "device.json").write_text("{}")

    # the fit and the answer are those of no interest here
    study = Mock(**{"main.frame.arrays": ("",)})
    monkeypatch.setattr("reliability.device.study.study_device", lambda *_, **__: study)
    monkeypatch.setattr("reliability.device.files.save_study", save)
    results = Mock(**{"to_json.return_value": "the results"})
    monkeypatch.setattr("reliability.cli.main.answer_from", lambda *_, **__: results)
    monkeypatch.setattr("reliability.report.render_report", lambda _: "the page")
    monkeypatch.setattr("reliability.cli.main.print_verdict", lambda _: None)
    found = call(
        "run", "--network", "n.safetensors", "--out", "a/b/out", "--chips", 2, "--threads", 1,
        "--thresholds", "fixed", "--model", "lognormal", "--confirm-minutes", 0,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert victim.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a", "n.json", "n.safetensors", "outside",
    ]  # fmt: skip
    assert [p.name for p in (tmp_path / "outside").iterdir()] == ["victim.json"]
    out = tmp_path / "a" / "b" / "out"
    (stem,) = {p.stem for p in out.iterdir() if p.name.startswith("network-")}
    assert re.fullmatch(r"network-[A-Za-z0-9_-]*-[0-9a-f]{12}", stem)
    assert {p.name for p in out.iterdir()} == {
        ".rram-reliability.json", "device.json", "index.html", "results.json",
        f"{stem}.json", f"{stem}.nc", f"{stem}.safetensors",
    }  # fmt: skip
    assert (out / "results.json").read_text() == "the results"
    printed = "".join(c if c.isprintable() else "?" for c in named)
    assert name_of(load_counts(out / f"{stem}.nc").record) == printed
    # its files are known before the work: one that the user changed stops the next run at once
    (out / f"{stem}.nc").write_text("mine")
    monkeypatch.setattr("reliability.device.study.study_device", None)
    again = call(
        "run", "--network", "n.safetensors", "--out", "a/b/out", "--chips", 2, "--threads", 1,
        "--thresholds", "fixed", "--model", "lognormal", "--force",
    )  # fmt: skip
    assert again.returncode == 2
    assert f"or were changed since: {stem}.nc; move them away" in again.stderr


def test_networks_of_one_name_are_refused(
    trained: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    network, record = load_network(trained)
    treated = "standard, thresholds calibrated per chip"
    for name, training in (("a", {"ber": 0.0}), ("b", {"ber": 0.0, "loss": treated})):
        path = tmp_path / f"{name}.safetensors"
        save_network(network, path, record={**record, "training": training})
    found = call("run", "--network", "a.safetensors", "--network", "b.safetensors", "--out", "o")
    assert found.returncode == 2
    assert f"two networks are called {treated!r}; leave one out" in found.stderr
    assert not (tmp_path / "o").exists()


def test_a_network_of_an_earlier_version_is_sealed(
    trained: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    for suffix in (".json", ".safetensors"):
        (tmp_path / f"old{suffix}").write_bytes(trained.with_suffix(suffix).read_bytes())
    twin = json.loads((tmp_path / "old.json").read_text(encoding="utf-8"))
    del twin["content_sha256"]
    (tmp_path / "old.json").write_text(json.dumps(twin | {"format_version": 1}), encoding="utf-8")
    found = call("inspect", "old.safetensors")
    assert found.returncode == 2
    assert "read it once with `rram-reliability inspect --seal old.safetensors`" in found.stderr
    assert call("inspect", "--seal", "old.safetensors").returncode == 0
    assert (tmp_path / "old.json").read_bytes() == trained.with_suffix(".json").read_bytes()
    assert call("inspect", "old.safetensors").returncode == 0
