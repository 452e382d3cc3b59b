"""Tables of counts that no chips give are refused, with hashes that fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import bnn.evaluation.counts
from devicefit.numerics.datasets import read_datasets, write_datasets
from reliability.networks.counts import COUNTS, OF_IMAGES
from reliability.networks.study import (
    FORMAT,
    UNEQUAL_GROUP,
    NetworkOptions,
    NetworkStudy,
    evaluate_network,
    load_counts,
    save_counts,
)


@pytest.fixture(scope="module")
def study(digits_images: bnn.ImageSet) -> NetworkStudy:
    network, record = bnn.load_zoo("digits-standard")
    options = NetworkOptions(chips=3, unequal_chips=2, threads=1)
    return evaluate_network(network, digits_images, options, record, tick=lambda done, total: None)


@pytest.fixture(scope="module")
def digits_images() -> bnn.ImageSet:
    return bnn.load_images("digits")


def test_the_names_are_those_of_the_counts() -> None:
    assert tuple(bnn.evaluation.counts.COUNTS) == COUNTS
    assert tuple(bnn.evaluation.counts.OF_IMAGES) == OF_IMAGES


def one(name: str, value: int) -> Callable[[xr.Dataset], xr.Dataset]:
    """One count replaced."""

    def change(counts: xr.Dataset) -> xr.Dataset:
        values = counts[name].values.copy()
        values[2, 1] = value
        return counts.assign({name: (counts[name].dims, values)})

    return change


def rates(*values: float) -> Callable[[xr.Dataset], xr.Dataset]:
    def change(counts: xr.Dataset) -> xr.Dataset:
        ber = counts["ber"].values.copy()
        ber[: len(values)] = values
        return counts.assign_coords(ber=ber)

    return change


def attribute(name: str, value: Any) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda counts: counts.assign_attrs({name: value})


WRONG: list[tuple[Callable[[xr.Dataset], xr.Dataset], str]] = [
    # these two gave an accuracy of 3,579,139 and a negative one
    (one("correct", 2147483647), "correct is 2147483647 at ber number 2, chip number 1; .* 0..600"),
    (one("correct", -1), "correct is -1 at ber number 2, chip number 1; .* 0..600"),
    (one("correct", 0), "correct is not error_free_correct - lost . gained at ber number 2"),
    (one("lost", 600), r"lost is 600 .* within 0\.\.5"),
    (one("gained", -3), "gained is -3"),
    (one("changed", 601), "changed is 601"),
    (one("flips", 84481), r"flips is 84481 .* 0\.\.84480"),
    (rates(1e12), r"ber must be numbers within 0\.\.1"),
    (rates(-0.1), r"ber must be numbers within 0\.\.1"),
    (rates(np.nan), r"ber must be numbers within 0\.\.1"),
    (rates(0.3, 0.2), "ber must increase strictly"),
    (lambda c: c.drop_vars("ber"), "the values of ber are missing"),
    (lambda c: c.drop_vars("correct"), "correct is missing"),
    (lambda c: c.drop_vars(["lost", "flips"]), "lost, flips is missing"),
    (lambda c: c.astype(float), "correct has values of the type float64"),
    (lambda c: c.transpose("chip", "ber"), "correct has values of the type .* over"),
    (lambda c: c.isel(chip=slice(0, 0)), "at least one"),
    (lambda c: c.assign_coords(chip=[2, 1, 0]), "numbers of the chips must increase"),
    (lambda c: c.assign_coords(chip=[-1, 1, 2]), "numbers of the chips must increase"),
    (attribute("images", 0), "images is 0; it must be a whole number from 1 on"),
    (attribute("images", 600.0), "images is 600.0"),
    (attribute("images", [600, 600]), "images is array"),
    (attribute("error_free_correct", 601), "error_free_correct is 601 of 600 images"),
    (attribute("weights", np.nan), "weights is nan"),
    (attribute("weights", "many"), "weights is 'many'"),
    (attribute("seed", 0.5), "seed is 0.5"),
    (attribute("network_sha256", ""), "network_sha256 is ''; it must be a SHA-256"),
    (attribute("network_sha256", "g" * 64), "network_sha256 is 'g"),
    (attribute("images_sha256", 3), "images_sha256 is 3"),
    (attribute("protected", 1), "protected is 1; it must be a text"),
    (attribute("record", "[" * 100_000), "nested too deeply"),
    (attribute("record", "[]"), "Input should be"),
    (attribute("record", '{"training": "fast"}'), "training: Input should be"),
    (attribute("record", '{"training": null}'), "training: Input should be"),
    (attribute("record", '{"training": {"ber": 1e400}}'), "training.ber: Input should be"),
    (attribute("record", '{"training": {"ber": 1.5, "seed": "1"}}'), "training.ber.*training.seed"),
    (attribute("record", '{"history": [{"test_correct": 3}]}'), "history.0.test_images"),
    (attribute("record", '{"copies": {"a": "b"}}'), "copies.a: Input should be a valid integer"),
    (attribute("record", '{"thresholds": []}'), "thresholds: Input should be"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_counts_that_cannot_be_are_refused(
    change: Callable[[xr.Dataset], xr.Dataset], message: str, study: NetworkStudy, tmp_path: Path
) -> None:
    path = tmp_path / "c.nc"
    save_counts(study, path)
    groups = read_datasets(path, FORMAT)
    write_datasets(path, FORMAT, groups | {"": change(groups[""])})
    with pytest.raises(ValueError, match=f"c.nc: not a table of counts.*{message}.*evaluate`"):
        load_counts(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one("correct", 2147483647), "correct is 2147483647"),
        (attribute("ones", 1.5), "ones is 1.5; it must be a share"),
        (attribute("ones", [0.5, 0.5]), "it must be a share"),
        (attribute("network_sha256", "1" * 64), "network_sha256 of the counts at unequal rates"),
        (lambda c: c.drop_vars("tilt"), "the rates of the counts at unequal rates are missing"),
        (lambda c: c.assign_coords(tilt=c["tilt"] * 2), r"tilt must be numbers within -1\.\.1"),
    ],
)
def test_counts_at_unequal_rates_that_cannot_be_are_refused(
    change: Callable[[xr.Dataset], xr.Dataset], message: str, study: NetworkStudy, tmp_path: Path
) -> None:
    path = tmp_path / "c.nc"
    save_counts(study, path)
    groups = read_datasets(path, FORMAT)
    write_datasets(path, FORMAT, groups | {UNEQUAL_GROUP: change(groups[UNEQUAL_GROUP])})
    with pytest.raises(ValueError, match=f"c.nc: not a table of counts.*{message}"):
        load_counts(path)


def test_other_files_and_groups_are_refused(study: NetworkStudy, tmp_path: Path) -> None:
    path = tmp_path / "c.nc"
    with pytest.raises(ValueError, match="c.nc: no such file; write it with"):
        load_counts(path)
    # as earlier versions wrote it
    study.counts.assign_attrs(record=json.dumps(study.record)).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(
        ValueError, match="no hash at its end: it is of an earlier version.*evaluate`"
    ):
        load_counts(path)
    save_counts(study, path)
    groups = read_datasets(path, FORMAT)
    write_datasets(path, FORMAT, groups | {"other": groups[UNEQUAL_GROUP]})
    with pytest.raises(ValueError, match="unknown groups other"):
        load_counts(path)
