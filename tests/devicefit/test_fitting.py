"""Fits of the simulated device: two in full, and two of a few draws."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from devicefit.backend import SamplerOptions
from devicefit.compression import compress
from devicefit.fitting import FORMAT, DevicePosterior, fit, load_posterior, save_posterior
from devicefit.intervals import equal_tailed
from devicefit.models import FAMILIES
from devicefit.models.core import Frame
from devicefit.priors import prior_record
from devicefit.reference_device import ReferencePlan, reference_measurements, true_mixtures
from devicefit.sensing import ln_ber_1t1r, ln_ber_2t2r


def truth(fitted: Any, scheme: str) -> np.ndarray:
    """True ln BER on the curve's grid, at the curve's own thresholds."""
    curve = fitted.curves[scheme]
    laws = true_mixtures(fitted.device, curve.programming)
    if scheme == "1T1R":
        return ln_ber_1t1r(laws["LRS"], laws["HRS"], np.log(curve.threshold_ohm))
    return ln_ber_2t2r(laws["LRS"], laws["HRS"], 0.05)


@pytest.mark.parametrize("scheme", ["1T1R", "2T2R"])
def test_the_true_ber_is_inside_the_band(good_fit: Any, scheme: str) -> None:
    band = equal_tailed(good_fit.curves[scheme].ln_ber)
    inside = (band.low <= truth(good_fit, scheme)) & (truth(good_fit, scheme) <= band.high)
    assert inside.mean() >= 0.8
    # and the band is informative where errors are counted in dozens
    assert (band.high - band.low)[0] < np.log(3)


@pytest.mark.parametrize("scheme", ["1T1R", "2T2R"])
def test_control_the_band_of_the_wrong_family_must_miss(wrong_fit: Any, scheme: str) -> None:
    band = equal_tailed(wrong_fit.curves[scheme].ln_ber)
    inside = (band.low <= truth(wrong_fit, scheme)) & (truth(wrong_fit, scheme) <= band.high)
    assert inside.mean() < 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("ln_v_c", np.log(0.5)), ("exponent", 1.0), ("ln_r_series", np.log(1000.0))]
    + [("ln_r_hrs", np.log(1.1e5)), ("ln_sd_hrs", np.log(0.5)), ("sd_exponent", 0.5)],
)
def test_parameters_are_recovered(good_fit: Any, name: str, value: float) -> None:
    # six parameters within 4 posterior standard deviations: 4e-4 that a correct fit fails
    draws = good_fit.posterior.draws[name].values
    assert abs(draws.mean() - value) < 4 * draws.std()
    prior = {p["name"]: p for p in good_fit.posterior.record["priors"]}[name]
    assert draws.std() < prior["sd"]


def test_diagnostics_and_record(good_fit: Any) -> None:
    posterior = good_fit.posterior
    d = posterior.diagnostics
    assert 1.0 <= d.r_hat < 1.05
    assert 100 < d.bulk_ess
    assert 100 < d.tail_ess
    assert (d.draws, posterior.draws.sizes["chain"], posterior.draws.sizes["draw"]) == (
        2800,
        4,
        700,
    )
    record = posterior.record
    assert record["sampler"] == {
        "name": "nutpie NUTS",
        "chains": 4,
        "draws": 700,
        "warmup": 600,
        "seed": 1,
        "target_accept": 0.98,
    }
    family = FAMILIES["switching-failure"]
    assert record["priors"] == prior_record(family.priors(posterior.frame.programming))
    assert set(posterior.draws.data_vars) == {p["name"] for p in record["priors"]}
    assert (record["devices"], record["readings"]) == (800, {"LRS": 4000, "HRS": 4000})
    for state, effect in record["design_effect"].items():
        assert effect == good_fit.compressed.states[state].design_effect
    json.dumps(record)


def test_laws_of_the_posterior_have_the_grid_last(good_fit: Any) -> None:
    laws = good_fit.posterior.mixtures(np.array([1e-4, 2e-4, 3e-4]))
    assert laws["LRS"].mean.shape == (3, 4, 700, 3)
    assert good_fit.posterior.mixtures(1e-4)["HRS"].mean.shape == (2, 4, 700, 1)


# --- determinism ----------------------------------------------------------------------------------


def test_same_seed_same_bytes() -> None:
    plan = ReferencePlan(currents=3, devices_per_current=20, cycles=1)
    compressed = compress(reference_measurements(plan=plan))
    options = SamplerOptions(chains=2, draws=8, warmup=20, seed=5, cores=1)

    def draws(chosen: SamplerOptions) -> xr.Dataset:
        return fit(compressed, family="lognormal", options=chosen).draws

    first = draws(options)
    # the number of cores does not change the draws
    again = draws(dataclasses.replace(options, cores=2))
    other = draws(dataclasses.replace(options, seed=6))
    for name in first.data_vars:
        assert first[name].values.tobytes() == again[name].values.tobytes()
        assert not np.any(first[name].values == other[name].values)
        assert not np.any(first[name].values[0] == first[name].values[1])


@pytest.mark.parametrize("family", ["normal", "", "Lognormal"])
def test_unknown_family(family: str) -> None:
    message = f"family {family!r} is not known; known: lognormal, switching-failure"
    with pytest.raises(ValueError, match=message):
        fit(
            compress(reference_measurements(plan=ReferencePlan(currents=2, cycles=1))),
            family=family,
            options=SamplerOptions(),
        )


# --- files ----------------------------------------------------------------------------------------


def test_round_trip(good_fit: Any, tmp_path: Path) -> None:
    path = tmp_path / "posterior.nc"
    save_posterior(good_fit.posterior, path)
    loaded = load_posterior(path)
    for field in ("family", "frame", "diagnostics", "record"):
        assert getattr(loaded, field) == getattr(good_fit.posterior, field)
    xr.testing.assert_identical(loaded.draws, good_fit.posterior.draws)
    x = good_fit.curves["1T1R"].programming
    for state, law in good_fit.posterior.mixtures(x).items():
        np.testing.assert_array_equal(loaded.mixtures(x)[state].mean, law.mean)


def saved(posterior: DevicePosterior, path: Path, **changes: Any) -> Path:
    """Save a posterior and change its head afterwards."""
    save_posterior(posterior, path)
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load()
    head = json.loads(dataset.attrs["rram_reliability"]) | changes
    changed = path.with_name("changed.nc")
    dataset.assign_attrs(rram_reliability=json.dumps(head)).to_netcdf(changed, engine="h5netcdf")
    return changed


def test_files_that_are_no_posterior(
    known_posterior: Callable[..., DevicePosterior], tmp_path: Path
) -> None:
    posterior = known_posterior()
    with pytest.raises(ValueError, match="no.nc: no such file; write it with `rram-reliability"):
        load_posterior(tmp_path / "no.nc")
    garbage = tmp_path / "garbage.nc"
    for data in (b"", b"not a netCDF file" * 50):
        garbage.write_bytes(data)
        with pytest.raises(ValueError, match="garbage.nc: not a device posterior; write it with"):
            load_posterior(garbage)
    whole = tmp_path / "whole.nc"
    save_posterior(posterior, whole)
    garbage.write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(ValueError, match="garbage.nc: not a device posterior"):
        load_posterior(garbage)
    plain = tmp_path / "plain.nc"
    posterior.draws.to_netcdf(plain, engine="h5netcdf")
    with pytest.raises(ValueError, match="plain.nc: not a device posterior"):
        load_posterior(plain)
    with pytest.raises(ValueError, match="format 'other 2', this version reads '" + FORMAT):
        load_posterior(saved(posterior, whole, format="other 2"))
    with pytest.raises(ValueError, match="family 'weibull' is not known; known: lognormal, swi"):
        load_posterior(saved(posterior, whole, family="weibull"))


def test_frame_of_a_fit_is_the_measured_range(good_fit: Any) -> None:
    assert good_fit.posterior.frame == Frame(good_fit.measurements.programming, 20e-6, 600e-6)
