"""Leave-one-device-out: closed forms of a normal model, and densities against SciPy."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from devicefit.compression.compression import compress
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.likelihood.compressed import Compressed
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.prediction import reading_density
from devicefit.prediction.loo import ALIKE, K_LIMIT, Loo, elpd_difference, loo
from devicefit.prediction.reading_density import (
    device_readings,
    ln_densities,
    ln_device_likelihoods,
    thinned,
    thinned_places,
)
from devicefit.sampling.diagnostics import psis
from devicefit.sampling.prior import sample_priors

CURRENT = Programming("SET compliance current", "A")
MEAN = {"LRS": np.log(5e3), "HRS": np.log(1e5)}
SD = {"LRS": 0.2, "HRS": 0.6}


def posterior_of(
    values: dict[str, np.ndarray], frame: Frame, family: str = "lognormal"
) -> DevicePosterior:
    """A posterior with these draws, (chain, draw) each."""
    draws = xr.Dataset({name: (("chain", "draw"), v) for name, v in values.items()})
    n = draws.sizes["chain"] * draws.sizes["draw"]
    return DevicePosterior(family, draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, n), {})


# --- closed form: one condition, known spread, flat prior on the two means ------------------------


def one_condition(y: dict[str, np.ndarray]) -> Measurements:
    """Readings (device, cycle) of each state at one condition."""
    rows = [
        (f"d{d:03d}", state, float(c), 1.0, np.exp(v))
        for state, values in y.items()
        for d, of_device in enumerate(values)
        for c, v in enumerate(of_device)
    ]
    names = ["device_id", "state", "cycle", "programming", "resistance_ohm"]
    return check_measurements(pd.DataFrame(rows, columns=names), ONE_CONDITION)


def exact_posterior(
    y: dict[str, np.ndarray], compressed: Compressed, *, draws: int, seed: int
) -> DevicePosterior:
    """Draws of the means from their posterior; likelihoods divided by the design effect."""
    rng = np.random.default_rng(seed)
    values = {}
    for state, readings in y.items():
        effect = compressed.states[state].design_effect
        width = SD[state] * np.sqrt(effect / readings.size)
        s = state.lower()
        values[f"ln_r_{s}"] = rng.normal(readings.mean(), width, size=(4, draws // 4))
        values[f"ln_sd_{s}"] = np.full((4, draws // 4), np.log(SD[state]))
    return posterior_of(values, Frame(ONE_CONDITION, 1.0, 1.0))


def exact_lpd(y: dict[str, np.ndarray], compressed: Compressed) -> np.ndarray:
    """Sum over the device's readings of ln N(y; mean of the others, spread + its error)."""
    total = np.zeros(len(y["LRS"]))
    for state, readings in y.items():
        effect = compressed.states[state].design_effect
        for d in range(len(readings)):
            others = np.delete(readings, d, axis=0)
            width = SD[state] * np.sqrt(1 + effect / others.size)
            total[d] += norm.logpdf(readings[d], others.mean(), width).sum()
    return total


def readings(devices: int, cycles: int, *, lasting: float, seed: int) -> dict[str, np.ndarray]:
    """Normal readings (device, cycle), the share `lasting` of their variance the device's."""
    rng = np.random.default_rng(seed)
    found = {}
    for state in ("LRS", "HRS"):
        score = np.sqrt(lasting) * rng.standard_normal((devices, 1))
        score = score + np.sqrt(1 - lasting) * rng.standard_normal((devices, cycles))
        found[state] = MEAN[state] + SD[state] * score
    return found


@pytest.mark.parametrize(
    ("cycles", "lasting", "of_device", "of_sum"), [(1, 0.0, 0.04, 0.15), (4, 0.5, 0.15, 0.4)]
)
def test_closed_form(cycles: int, lasting: float, of_device: float, of_sum: float) -> None:
    y = readings(50, cycles, lasting=lasting, seed=cycles)
    measurements = one_condition(y)
    compressed = compress(measurements)
    effect = compressed.states["LRS"].design_effect
    assert (effect == 1.0) if cycles == 1 else (effect > 1.5)
    posterior = exact_posterior(y, compressed, draws=4000, seed=8)
    found = loo(posterior, compressed, measurements, draws=4000)
    assert found.devices == tuple(f"d{d:03d}" for d in range(50))
    exact = exact_lpd(y, compressed)
    # A weighted mean of 4000 draws of f: its relative error is near sd(ln f + ln w) / sqrt(4000),
    # with ln w = -ln f summed over the device and divided by the design effect. Both are linear in
    # the mean, which is sd sqrt(effect / N) wide: for the largest of 100 single readings, z = 2.8,
    # below 2 * 2.8 / sqrt(50) / 63 = 0.013 for each state; a bin moves ln f by up to z / 40. Four
    # readings with the effect 2.7 are four times as many, 0.8 times as uncertain each.
    np.testing.assert_allclose(found.lpd, exact, atol=of_device)
    # The mean of the draws is off by 1 / sqrt(4000) of its width for all devices at once; what
    # that shifts is linear in the sum of z, near zero, so the errors of devices hardly add up.
    assert abs(found.elpd - exact.sum()) < of_sum
    assert found.se == pytest.approx(np.sqrt(50) * exact.std(ddof=1), rel=0.02)
    assert len(found.high_k) == 0


def test_control_scores_with_the_device_kept_must_differ() -> None:
    y = readings(12, 1, lasting=0.0, seed=3)
    measurements = one_condition(y)
    compressed = compress(measurements)
    posterior = exact_posterior(y, compressed, draws=4000, seed=9)
    left_out = loo(posterior, compressed, measurements, draws=4000).elpd
    exact = exact_lpd(y, compressed).sum()
    kept = sum(norm.logpdf(v, v.mean(), SD[s] * np.sqrt(1 + 1 / 12)).sum() for s, v in y.items())
    assert kept - exact > 0.5  # one for each of the two means, less what they widen
    assert abs(left_out - exact) < 0.2 * (kept - exact)


def test_a_device_that_decides_the_fit_is_reported() -> None:
    y = readings(12, 1, lasting=0.0, seed=4)
    y["HRS"][5] += 30 * SD["HRS"]
    measurements = one_condition(y)
    compressed = compress(measurements)
    posterior = exact_posterior(y, compressed, draws=2000, seed=10)
    found = loo(posterior, compressed, measurements)
    # the log ratio of the draws has the standard deviation 27.5 / sqrt(12) = 8
    assert list(found.high_k) == [5]
    record = found.record()
    assert (record["high_k"], record["high_k_devices"]) == (1, ["d005"])


def test_a_tail_that_cannot_be_fitted_counts_as_bad() -> None:
    found = Loo(("a", "b", "c"), np.zeros(3), np.array([0.1, np.inf, np.nan]))
    assert list(found.high_k) == [1, 2]
    assert found.record()["largest_finite_k"] == 0.1
    assert Loo(("a",), np.zeros(1), np.array([-np.inf])).record()["largest_finite_k"] is None
    assert list(Loo(("a",), np.zeros(1), np.array([-np.inf])).high_k) == [0]
    assert np.isnan(Loo(("a",), np.zeros(1), np.zeros(1)).se)


def test_difference_of_families() -> None:
    rng = np.random.default_rng(5)
    names = tuple("abcd")
    first, second = (Loo(names, rng.normal(size=4), np.zeros(4)) for _ in range(2))
    gain = [a - b for a, b in zip(first.lpd, second.lpd, strict=True)]
    mean = sum(gain) / 4
    variance = sum((g - mean) ** 2 for g in gain) / 3
    value, error = elpd_difference(first, second)
    assert value == pytest.approx(first.elpd - second.elpd)
    assert error == pytest.approx(np.sqrt(4 * variance))
    with pytest.raises(ValueError, match="of different devices"):
        elpd_difference(first, Loo(tuple("abce"), second.lpd, np.zeros(4)))


def test_weights_are_normalised_and_follow_the_ratios() -> None:
    ratios = np.random.default_rng(6).normal(size=(3, 1000))
    ln_weight, k = psis(ratios)
    np.testing.assert_allclose(np.exp(ln_weight).sum(axis=1), 1.0)
    assert k.shape == (3,)
    # smoothing keeps the order, and leaves all but the largest as they were
    for row, found in zip(ratios, ln_weight, strict=True):
        body = np.argsort(row)[:800]
        np.testing.assert_allclose(np.diff(found[body]), np.diff(row[body]), atol=1e-12)


# --- every device smoothed, against smoothing only where the ratios differ ------------------------


def smoothed_everywhere(
    posterior: DevicePosterior, compressed: Compressed, measurements: Measurements
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log densities of each device, and k, with the plain formula, device by device."""
    found = device_readings(measurements, compressed)
    likelihoods = ln_device_likelihoods(posterior, compressed, found)
    ln_weight, k = psis(-likelihoods)
    total = np.zeros(len(found.devices))
    for d in range(len(total)):
        own = found.counts[[d]]
        ln_f = ln_densities(posterior, compressed, found, own.indices)
        total[d] = own.data @ logsumexp(ln_weight[d] + ln_f, axis=1)
    return total, k


@pytest.mark.parametrize("seed", range(6))
def test_smoothing_is_left_out_only_where_it_does_not_matter(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In every second case one device decides the fit: its ln ratio is 4 to 8 wide.
    rng = np.random.default_rng([21, seed])
    devices, cycles = int(rng.integers(200, 500)), 1 + seed % 3
    y = readings(devices, cycles, lasting=0.3 * (cycles > 1), seed=seed)
    if seed % 2:
        y["LRS"][5] += rng.uniform(4, 6) * np.sqrt(devices) * SD["LRS"]
    measurements = one_condition(y)
    compressed = compress(measurements)
    posterior = exact_posterior(y, compressed, draws=500, seed=seed)
    # Blocks of a few draws, and of a few devices, add up to the same.
    monkeypatch.setattr(reading_density, "_BLOCK", int(rng.integers(500, 50_000)))
    monkeypatch.setattr("devicefit.prediction.loo._SMOOTHED", 70)
    found = loo(posterior, compressed, measurements)
    expected, k = smoothed_everywhere(posterior, compressed, measurements)
    plain = found.pareto_k == 0
    assert 0.1 < plain.mean() < 0.95
    np.testing.assert_allclose(found.lpd[~plain], expected[~plain], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.pareto_k[~plain], k[~plain])
    # ln ratios range over 0.2, six of their standard deviations: the error of 500 draws is near
    # 0.03 / sqrt(500) = 1.5e-3 and what smoothing changes a hundredth of that (measured: below
    # 2e-5 on 3.3e5 simulated and on 3.6e5 measured devices).
    np.testing.assert_allclose(found.lpd[plain], expected[plain], atol=5e-5)
    assert list(found.high_k) == list(np.flatnonzero(k > K_LIMIT))
    assert len(found.high_k) == seed % 2


def test_control_without_any_smoothing_the_far_device_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = readings(60, 1, lasting=0.0, seed=4)
    y["HRS"][5] += 20 * SD["HRS"]
    measurements = one_condition(y)
    compressed = compress(measurements)
    posterior = exact_posterior(y, compressed, draws=500, seed=10)
    expected, _ = smoothed_everywhere(posterior, compressed, measurements)
    monkeypatch.setattr("devicefit.prediction.loo.ALIKE", np.inf)
    found = loo(posterior, compressed, measurements)
    assert abs(found.lpd[5] - expected[5]) > 0.05
    assert not len(found.high_k)


def test_few_of_many_devices_are_smoothed() -> None:
    # The variances of ln ratios add up to the number of parameters, two means here, whatever the
    # number of devices; a range of 0.2 over 500 draws is six standard deviations of 0.033.
    y = readings(5000, 1, lasting=0.0, seed=14)
    measurements = one_condition(y)
    compressed = compress(measurements)
    posterior = exact_posterior(y, compressed, draws=500, seed=15)
    ratios = ln_device_likelihoods(posterior, compressed, device_readings(measurements, compressed))
    # both spreads are known and the deviations normal: sum of z^2 / N for each mean
    assert ratios.var(axis=1).sum() == pytest.approx(2.0, rel=0.2)
    found = loo(posterior, compressed, measurements)
    assert np.count_nonzero(found.pareto_k) < 2.0 / (ALIKE / 7) ** 2
    # every bin is looked up once: as many columns as bins, not as readings
    assert len(found.reading_count) == 10000


# --- densities and devices ------------------------------------------------------------------------


def currents() -> Measurements:
    """Two arrays, two currents, devices read once or twice, in an order that is not sorted."""
    rng = np.random.default_rng(7)
    rows = []
    for d in rng.permutation(60):
        for state in ("LRS", "HRS"):
            for cycle in range(1 + d % 2):
                y = rng.normal(MEAN[state], SD[state])
                rows.append(
                    (f"d{d}", f"a{d % 3 // 2}", state, cycle, 1e-4 * (1 + d % 2), np.exp(y))
                )
    names = ["device_id", "array_id", "state", "cycle", "programming", "resistance_ohm"]
    return check_measurements(pd.DataFrame(rows, columns=names), CURRENT)


def test_every_reading_is_in_its_bin() -> None:
    measurements = currents()
    compressed = compress(measurements, bins_per_spread=4)
    found = device_readings(measurements, compressed)
    assert list(found.devices) == sorted(found.devices)
    assert found.is_binned.all()
    for code, state in enumerate(("LRS", "HRS")):
        data = compressed.states[state]
        mine = np.flatnonzero(found.state == code)
        np.testing.assert_array_equal(found.counts[:, mine].sum(axis=0), data.count)
        np.testing.assert_array_equal(found.condition[mine], data.condition)
        np.testing.assert_array_equal(found.effect[mine], data.design_effect)
        for d, name in enumerate(found.devices):
            own = measurements.table[
                (measurements.table["device_id"] == name) & (measurements.table["state"] == state)
            ]
            columns = np.intersect1d(found.counts[[d]].indices, mine)
            conditions = found.condition[columns]
            assert set(compressed.conditions[conditions]) == set(own["programming"])
            arrays = {compressed.arrays[compressed.array[c]] for c in conditions}
            assert arrays == set(own["array_id"])
            # a bin's mean is within a quarter of a robust spread of its readings
            y = np.log(own["resistance_ohm"].to_numpy())
            counts = found.counts[[d]].toarray()[0][columns].astype(int)
            held = np.sort(np.repeat(found.ln_low[columns], counts))
            np.testing.assert_allclose(held, np.sort(y), atol=0.5 * SD[state])


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("block", [2**22, 50])
def test_densities_are_those_of_the_law(
    family: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_density, "_BLOCK", block)
    compressed = compress(currents())
    frame = Frame(CURRENT, 1e-4, 2e-4, arrays=("a0", "a1"))
    rng = np.random.default_rng(8)
    named = sample_priors(FAMILIES[family].priors(frame), draws=7, rng=rng)
    draws = xr.Dataset(
        {
            name: (("chain", "draw", *([f"{name}_term"] if v.ndim == 3 else [])), v)
            for name, v in named.items()
        }
    )
    posterior = DevicePosterior(family, draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, 7), {})
    of_devices = device_readings(currents(), compressed)
    # Any columns in any order, those of both states together.
    columns = rng.permutation(of_devices.counts.shape[1])[:50]
    found = ln_densities(posterior, compressed, of_devices, columns)
    for column, row in zip(columns, found, strict=True):
        c = [of_devices.condition[column]]
        law = posterior.mixtures(compressed.conditions[c], array=compressed.array[c])
        expected = law[("LRS", "HRS")[of_devices.state[column]]].ln_density(
            of_devices.ln_low[column]
        )
        np.testing.assert_allclose(row, expected[0, :, 0], rtol=1e-10, atol=1e-10)


def test_bounds_count_with_their_probability() -> None:
    r, low, high = "resistance_ohm", "resistance_low_ohm", "resistance_high_ohm"
    rows = [
        {"device_id": "a", "state": "LRS", r: 5e3},
        {"device_id": "a", "state": "HRS", r: 1e5},
        {"device_id": "c", "state": "LRS", low: 4e3, high: 5e3},
        {"device_id": "c", "state": "HRS", r: 9e4},
        {"device_id": "d", "state": "LRS", low: 8e3},
        {"device_id": "d", "state": "HRS", low: 1e6},
    ]
    for name in "efghijklm":
        rows += [
            {"device_id": name, "state": s, r: v * (1 + ord(name) / 1e3)}
            for s, v in (("LRS", 5e3), ("HRS", 1e5))
        ]
    table = pd.DataFrame(rows).assign(programming=1.0)
    measurements = check_measurements(table, ONE_CONDITION)
    compressed = compress(measurements)
    rng = np.random.default_rng(9)
    values = {
        "ln_r_lrs": rng.normal(8.6, 0.1, (1, 400)),
        "ln_sd_lrs": rng.normal(-1.2, 0.1, (1, 400)),
        "ln_r_hrs": rng.normal(11.5, 0.1, (1, 400)),
        "ln_sd_hrs": rng.normal(-0.5, 0.1, (1, 400)),
    }
    posterior = posterior_of(values, Frame(ONE_CONDITION, 1.0, 1.0))
    of_devices = device_readings(measurements, compressed)
    names = of_devices.devices
    assert names == tuple("acdefghijklm")
    assert np.count_nonzero(~of_devices.is_binned) == 3
    found = ln_device_likelihoods(posterior, compressed, of_devices)
    lrs = norm(values["ln_r_lrs"][0], np.exp(values["ln_sd_lrs"][0]))
    hrs = norm(values["ln_r_hrs"][0], np.exp(values["ln_sd_hrs"][0]))
    tolerance: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(
        found[0], lrs.logpdf(np.log(5e3)) + hrs.logpdf(np.log(1e5)), **tolerance
    )
    inside = lrs.cdf(np.log(5e3)) - lrs.cdf(np.log(4e3))
    np.testing.assert_allclose(found[1], np.log(inside) + hrs.logpdf(np.log(9e4)), **tolerance)
    np.testing.assert_allclose(
        found[2], lrs.logsf(np.log(8e3)) + hrs.logsf(np.log(1e6)), **tolerance
    )
    scored = loo(posterior, compressed, measurements)
    assert scored.devices == names
    # the score of a bound is a probability, weighted like a density
    weight = np.exp(psis(-found)[0][2])
    expected = np.log(weight @ lrs.sf(np.log(8e3))) + np.log(weight @ hrs.sf(np.log(1e6)))
    assert scored.lpd[2] == pytest.approx(expected, rel=1e-6)


def test_joint_law_of_repeated_readings() -> None:
    # The lognormal family knows devices and cycles: what a device adds to the likelihood is a
    # multivariate normal density.
    y = readings(10, 4, lasting=0.5, seed=12)
    measurements = one_condition(y)
    compressed = compress(measurements)
    frame = Frame.of(compressed)
    assert frame.levels
    names = [p.name for p in FAMILIES["lognormal"].priors(frame)]
    rng = np.random.default_rng(13)
    values = {name: rng.normal(0.2, 0.1, size=(1, 3)) for name in names}
    for state in ("LRS", "HRS"):
        values[f"ln_r_{state.lower()}"] = MEAN[state] + values[f"ln_r_{state.lower()}"]
    posterior = posterior_of(values, frame)
    found = ln_device_likelihoods(posterior, compressed, device_readings(measurements, compressed))
    for s in range(3):
        p = {name: v[0, s] for name, v in values.items()}
        share = {t: 1 / (1 + np.exp(-p[f"logit_device_share_{t}"])) for t in ("lrs", "hrs")}
        sd = {t: np.exp(p[f"ln_sd_{t}"]) for t in ("lrs", "hrs")}
        lag = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
        covariance = np.zeros((8, 8))
        for i, t in enumerate(("lrs", "hrs")):
            phi = np.tanh(p[f"atanh_cycle_correlation_{t}"])
            block = share[t] + (1 - share[t]) * phi**lag
            covariance[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] = sd[t] ** 2 * block
        both = np.tanh(p["atanh_state_correlation"]) * np.sqrt(share["lrs"] * share["hrs"])
        covariance[:4, 4:] = covariance[4:, :4] = both * sd["lrs"] * sd["hrs"]
        mean = np.repeat([p["ln_r_lrs"], p["ln_r_hrs"]], 4)
        law = multivariate_normal(mean, covariance)
        expected = [law.logpdf(np.concatenate([y["LRS"][d], y["HRS"][d]])) for d in range(10)]
        np.testing.assert_allclose(found[:, s], expected, rtol=1e-6)


def test_other_readings_are_refused() -> None:
    measurements = currents()
    compressed = compress(measurements)
    table = measurements.table
    fewer = dataclasses.replace(measurements, table=table.drop(index=3).reset_index(drop=True))
    with pytest.raises(ValueError, match="the HRS readings are not those that were compressed"):
        device_readings(fewer, compressed)
    none = table[table["device_id"] != "d7"].reset_index(drop=True)
    with pytest.raises(ValueError, match="59 devices, 60 were compressed"):
        device_readings(dataclasses.replace(measurements, table=none), compressed)
    shifted = table.assign(programming=table["programming"] * 1.01)
    with pytest.raises(ValueError, match="no readings were compressed at .*0.000101"):
        device_readings(dataclasses.replace(measurements, table=shifted), compressed)


def test_thinning_is_even() -> None:
    posterior = posterior_of({"v": np.arange(40.0).reshape(2, 20)}, Frame(CURRENT, 1e-4, 2e-4))
    np.testing.assert_array_equal(thinned_places(posterior, 10), [2, 6, 10, 14, 18])
    np.testing.assert_array_equal(thinned(posterior, 10).draws["v"][1], [22, 26, 30, 34, 38])
    np.testing.assert_array_equal(thinned(posterior, 1000).draws["v"], posterior.draws["v"])
    with pytest.raises(ValueError, match="at least one of each of 2 chains"):
        thinned(posterior, 1)
