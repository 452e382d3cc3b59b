"""Posteriors as files: they come back as they were, and what cannot be one is refused."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.fitting.posterior_files import FORMAT, HEAD, MOST_SDS, load_posterior, save_posterior
from devicefit.inputs.programming import Programming
from devicefit.numerics.datasets import read_datasets, write_datasets
from devicefit.sampling.prior import prior_record, sample_priors

Known = Callable[..., DevicePosterior]


def test_round_trip_of_a_fit(good_fit: Any, tmp_path: Path) -> None:
    path = tmp_path / "posterior.nc"
    save_posterior(good_fit.posterior, path)
    loaded = load_posterior(path)
    for field in ("family", "frame", "diagnostics", "record"):
        assert getattr(loaded, field) == getattr(good_fit.posterior, field)
    xr.testing.assert_identical(loaded.draws, good_fit.posterior.draws)
    x = good_fit.curves["1T1R"].programming
    for state, law in good_fit.posterior.mixtures(x).items():
        np.testing.assert_array_equal(loaded.mixtures(x)[state].location, law.location)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_with_everything_in_its_frame_survives_a_file(
    family: str, known_posterior: Known, tmp_path: Path
) -> None:
    levels = ("logit_device_share_hrs", "logit_device_share_lrs")
    frame = Frame(
        Programming("v", "V"), 1.0, 3.0, Programming("pulse width", "s"), 1e-7, 1e-5, 1e-6,
        ("a", "b"), 3, levels,
    )  # fmt: skip
    priors = FAMILIES[family].priors(frame)
    drawn = sample_priors(priors, draws=40, rng=np.random.default_rng(1))
    draws = xr.Dataset(
        {
            p.name: (("chain", "draw", f"{p.name}_{p.dim}")[: drawn[p.name].ndim], drawn[p.name])
            for p in priors
        }
    )
    known = known_posterior()
    posterior = DevicePosterior(
        family,
        draws,
        frame,
        Diagnostics(float("nan"), 9.0, float("nan"), 0, 40),
        known.record | {"priors": prior_record(priors)},
    )
    save_posterior(posterior, tmp_path / "posterior.nc")
    loaded = load_posterior(tmp_path / "posterior.nc")
    assert loaded.frame == frame
    assert repr(loaded.diagnostics) == repr(posterior.diagnostics)
    xr.testing.assert_identical(loaded.draws, draws)


def test_the_same_posterior_gives_the_same_bytes(known_posterior: Known, tmp_path: Path) -> None:
    for name in "ab":
        save_posterior(known_posterior(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def changed(
    posterior: DevicePosterior,
    path: Path,
    *,
    draws: Callable[[xr.Dataset], xr.Dataset] = lambda found: found,
    head: Callable[[dict[str, Any]], object] = lambda found: None,
) -> Path:
    """Save a posterior and change it on purpose: its hash fits again."""
    save_posterior(posterior, path)
    dataset = read_datasets(path, FORMAT)[""]
    values = json.loads(dataset.attrs[HEAD])
    head(values)
    dataset = draws(dataset).assign_attrs({HEAD: json.dumps(values)})
    write_datasets(path, FORMAT, {"": dataset})
    return path


def with_value(name: str, value: float) -> Callable[[xr.Dataset], xr.Dataset]:
    """One draw of a parameter replaced."""

    def change(dataset: xr.Dataset) -> xr.Dataset:
        values = dataset[name].values.copy()
        values[1, 7] = value
        return dataset.assign({name: (dataset[name].dims, values)})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # one such draw of a failure rate doubled the mean BER
        (with_value("ln_r_hrs", 2147483647.0), r"ln_r_hrs is 2\.14748e\+09 in chain 1, draw 7"),
        (with_value("ln_r_hrs", np.nan), "ln_r_hrs is nan in chain 1, draw 7"),
        (with_value("exponent", -np.inf), "exponent is -inf"),
        (lambda d: d.drop_vars("exponent"), "missing or unknown parameters: exponent"),
        (lambda d: d.assign(more=d["exponent"]), "missing or unknown parameters: more"),
        (lambda d: d.transpose("draw", "chain"), "wanted are floats over"),
        (lambda d: d.astype(np.int64), "int64 over"),
        (lambda d: d.isel(draw=slice(0, 0)), "shape"),
        (lambda d: d.isel(draw=slice(0, 9)), "diagnostics of 1000 draws .* there are 18"),
        (lambda d: d.rename(draw="sample"), "wanted are floats over"),
    ],
)
def test_draws_that_cannot_be_are_refused(
    change: Any, message: str, known_posterior: Known, tmp_path: Path
) -> None:
    path = changed(known_posterior(), tmp_path / "p.nc", draws=change)
    with pytest.raises(ValueError, match=f"p.nc: not a device posterior.*{message}"):
        load_posterior(path)


def test_the_bound_is_far_from_what_a_posterior_reaches(
    known_posterior: Known, tmp_path: Path
) -> None:
    """Control: a draw just inside is accepted, one just outside is not."""
    prior = FAMILIES["lognormal"].priors(known_posterior().frame)[0]
    for factor, good in ((0.999, True), (1.001, False)):
        value = prior.mean + factor * MOST_SDS * prior.sd
        path = changed(known_posterior(), tmp_path / "p.nc", draws=with_value(prior.name, value))
        if good:
            load_posterior(path)
        else:
            with pytest.raises(ValueError, match="not within 100 standard deviations"):
                load_posterior(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(family="weibull"), "family 'weibull' is not known; known: lognormal"),
        (lambda h: h.update(family="student-t"), "the priors are not those of the family"),
        (lambda h: h.update(more=1), "more: Extra inputs are not permitted"),
        (lambda h: h.pop("record"), "record: Field required"),
        (lambda h: h["frame"].update(low=1.0), "low must not exceed high"),
        (lambda h: h["frame"].update(low="2e-5"), "frame.low: Input should be a valid number"),
        (lambda h: h["frame"].update(low=float("nan")), "low must not exceed high"),
        (lambda h: h["frame"].update(low=-1.0), "must be positive"),
        (lambda h: h["frame"].update(high=float("inf")), "low must not exceed high"),
        (lambda h: h["frame"].update(terms=9), "terms is 9"),
        (lambda h: h["frame"].update(terms=3), "the priors are not those of the family"),
        (lambda h: h["frame"].update(levels=["x"]), "unknown level parameters"),
        (lambda h: h["frame"].update(arrays=[]), "arrays"),
        (lambda h: h["frame"]["programming"].update(unit="kg"), "unit 'kg' is not known"),
        (lambda h: h["diagnostics"].update(divergences=-1), "-1 divergences"),
        (lambda h: h["diagnostics"].update(draws=10**30), "draws"),
        (lambda h: h["diagnostics"].update(r_hat=0.0), "r_hat is 0"),
        (lambda h: h["diagnostics"].update(r_hat=[1.0]), "r_hat: Input should be a valid number"),
        (lambda h: h["record"].update(devices=0), "devices: .* greater than or equal to 1"),
        (lambda h: h["record"].update(devices=True), "devices: Input should be a valid integer"),
        (lambda h: h["record"].update(design_effect={"LRS": -1.0}), "design_effect.LRS"),
        (lambda h: h["record"].update(readings={"MRS": 3}), "readings.MRS"),
        (lambda h: h["record"]["priors"][0].update(sd=0.0), "sd is 0.0"),
        (lambda h: h["record"]["priors"].pop(), "the priors are not those of the family"),
        (lambda h: h["record"]["sampler"].update(seed="one"), "seed: Input should be a valid int"),
    ],
)
def test_heads_that_cannot_be_are_refused(
    change: Any, message: str, known_posterior: Known, tmp_path: Path
) -> None:
    path = changed(known_posterior(), tmp_path / "p.nc", head=change)
    with pytest.raises(ValueError, match=f"p.nc: not a device posterior.*{message}"):
        load_posterior(path)


def test_files_that_are_no_posterior(known_posterior: Known, tmp_path: Path) -> None:
    posterior = known_posterior()
    with pytest.raises(ValueError, match="no.nc: no such file; write it with `rram-reliability"):
        load_posterior(tmp_path / "no.nc")
    with pytest.raises(ValueError, match="cannot be read|not a device posterior"):
        load_posterior(tmp_path)
    whole, garbage = tmp_path / "whole.nc", tmp_path / "garbage.nc"
    save_posterior(posterior, whole)
    for data in (b"", b"not a netCDF file" * 50, whole.read_bytes()[:4000]):
        garbage.write_bytes(data)
        with pytest.raises(ValueError, match="garbage.nc: not a device posterior .* write it"):
            load_posterior(garbage)
    posterior.draws.to_netcdf(garbage, engine="h5netcdf")
    with pytest.raises(ValueError, match="no hash at its end: it is of an earlier version"):
        load_posterior(garbage)
    write_datasets(garbage, "rram-reliability counts 2", {"": posterior.draws})
    with pytest.raises(ValueError, match="its format is 'rram-reliability counts 2', wanted is"):
        load_posterior(garbage)


def test_a_frame_keeps_its_second_range_in_order() -> None:
    frame = Frame(Programming("v", "V"), 1.0, 3.0, Programming("w", "s"), 1e-7, 1e-5, 1e-6)
    for wrong in ({"second_low": 1e-4}, {"second_low": 0.0}, {"second_reference": np.nan}):
        with pytest.raises(ValueError, match="frame from|second_reference"):
            replace(frame, **wrong)
    assert asdict(frame)["second_low"] == 1e-7
