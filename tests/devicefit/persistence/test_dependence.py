"""Levels of scores in a second stage.

References: mpmath for scores, loops for statistics, and the definition of the levels for simulated
data (simulated here by other lines than the module's).
"""

import mpmath
import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import log_ndtr
from scipy.stats import norm

from devicefit.likelihood.levels import Levels
from devicefit.persistence.dependence import fit_levels, normal_scores, score_cells
from devicefit.sampling.diagnostics import r_hat
from devicefit.sampling.options import SamplerOptions

LEVELS = Levels(0.5, 0.25, 0.4, 0.15, 0.2, 0.1, 0.2)


def simulate_scores(
    levels: Levels,
    device: np.ndarray,
    condition: np.ndarray,
    state: np.ndarray,
    device_array: np.ndarray,
    *,
    rng: np.random.Generator,
) -> np.ndarray:
    """Standard normal scores of new devices, readings of one cell in order of cycle."""
    rho = levels.state_correlation
    of_device = rng.standard_normal((2, len(device_array)))
    of_device[1] = rho * of_device[0] + np.sqrt(1.0 - rho**2) * of_device[1]
    of_array = rng.standard_normal((2, int(device_array.max()) + 1))
    scores = np.empty(len(device))
    for s, name in enumerate(("lrs", "hrs")):
        rows = np.flatnonzero(state == s)
        if len(rows) == 0:
            continue
        share = getattr(levels, f"device_share_{name}")
        share_array = getattr(levels, f"array_share_{name}")
        phi = getattr(levels, f"cycle_correlation_{name}")
        rows = rows[np.lexsort((condition[rows], device[rows]))]
        d = device[rows]
        starts = np.append(True, (np.diff(d) != 0) | (np.diff(condition[rows]) != 0))
        # One long series: at the start of a cell the past is taken out, the variance is whole.
        noise = rng.standard_normal(len(rows))
        noise[~starts] *= np.sqrt(1.0 - phi**2)
        new = np.concatenate(
            [lfilter([1.0], [1.0, -phi], part) for part in np.split(noise, np.flatnonzero(starts))]
        )
        scores[rows] = (
            np.sqrt(share_array) * of_array[s, device_array[d]]
            + np.sqrt(share) * of_device[s, d]
            + np.sqrt(1.0 - share - share_array) * new
        )
    return scores


@pytest.mark.parametrize("z", [-60.0, -9.5, -2.0, -1e-3, 0.0, 0.7, 8.4, 45.0])
def test_scores_come_back(z):
    found = normal_scores(np.array([log_ndtr(z)]), np.array([log_ndtr(-z)]))
    assert found[0] == pytest.approx(z, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("probability", ["1e-30", "1e-300", "1e-3000"])
def test_scores_of_tiny_tails_against_mpmath(probability):
    with mpmath.workdps(60):
        p = mpmath.mpf(probability)
        start = -mpmath.sqrt(-2 * mpmath.log(p))
        z = mpmath.findroot(lambda x: mpmath.log(mpmath.ncdf(x)) - mpmath.log(p), start)
        ln_p, expected = float(mpmath.log(p)), float(z)
    tails = np.array([ln_p, 0.0])
    np.testing.assert_allclose(normal_scores(tails, tails[::-1]), [expected, -expected], rtol=1e-12)


@pytest.mark.parametrize(
    ("ln_cdf", "ln_sf"),
    [(-np.inf, 0.0), (0.0, -np.inf), (np.nan, -1.0), (-1.0, np.nan), (0.1, 0.2)],
)
def test_infinite_scores_are_refused(ln_cdf, ln_sf):
    half = -np.log(2)
    with pytest.raises(ValueError, match="reading 1 has ln_cdf.*support"):
        normal_scores(np.array([half, ln_cdf]), np.array([half, ln_sf]))


def test_cells_are_those_of_a_loop_whatever_the_order_of_devices():
    rng = np.random.default_rng(1)
    device = rng.integers(0, 5, 60)
    condition = rng.integers(0, 3, 60)
    scores = rng.normal(size=60)
    cells = score_cells(scores, device, condition)
    keys = sorted(set(zip(device.tolist(), condition.tolist(), strict=True)))
    assert list(zip(cells.device.tolist(), cells.condition.tolist(), strict=True)) == keys
    for i, (d, c) in enumerate(keys):
        y = scores[(device == d) & (condition == c)]
        off = y - y.mean()
        assert cells.n[i] == len(y)
        found = [
            getattr(cells, name)[i]
            for name in ("mean", "sum_of_squares", "lag_product", "first", "last")
        ]
        expected = [y.mean(), (off**2).sum(), (off[1:] * off[:-1]).sum(), off[0], off[-1]]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_no_readings_make_no_cells():
    none = np.zeros(0, dtype=int)
    assert len(score_cells(np.zeros(0), none, none).n) == 0


def design(devices, conditions, cycles, arrays):
    """Device, condition and state of each reading, LRS first, and the array of each device."""
    device = np.repeat(np.arange(devices), conditions * cycles)
    condition = np.tile(np.repeat(np.arange(conditions), cycles), devices)
    both = np.repeat([0, 1], len(device))
    return np.tile(device, 2), np.tile(condition, 2), both, np.arange(devices) % arrays


def test_simulated_scores_have_the_covariances_of_the_definition():
    # 3,000 arrays of two devices, each with two conditions of three cycles, are 3,000 independent
    # vectors of 24 readings, whose covariance matrix is written down from the definition.
    device, condition, state, array = design(2, 2, 3, 1)
    rng = np.random.default_rng(2)
    arrays = 3000
    many = [
        np.concatenate([a + i * step for i in range(arrays)])
        for a, step in ((device, 2), (condition, 0), (state, 0))
    ]
    array_of = np.repeat(np.arange(arrays), 2)
    scores = simulate_scores(LEVELS, *many, array_of, rng=rng).reshape(arrays, -1)
    cycle = np.tile(np.arange(3), len(device) // 3)
    share = np.array([LEVELS.device_share_lrs, LEVELS.device_share_hrs])
    share_array = np.array([LEVELS.array_share_lrs, LEVELS.array_share_hrs])
    phi = np.array([LEVELS.cycle_correlation_lrs, LEVELS.cycle_correlation_hrs])
    expected = np.zeros((24, 24))
    for i in range(24):
        for j in range(24):
            s, t = state[i], state[j]
            r = share_array[s] if s == t else 0.0
            if device[i] == device[j]:
                r += np.sqrt(share[s] * share[t]) * (1.0 if s == t else LEVELS.state_correlation)
                if s == t and condition[i] == condition[j]:
                    lag = abs(cycle[i] - cycle[j])
                    r += (1 - share[s] - share_array[s]) * phi[s] ** lag
            expected[i, j] = r
    found = scores.T @ scores / arrays
    # Standard error of a second moment of normals; 300 distinct pairs, so z = 4.5.
    error = np.sqrt((1 + expected**2) / arrays)
    assert (abs(found - expected) < 4.5 * error).all()
    # Control: the same scores against no levels at all.
    assert not (abs(found - np.eye(24)) < 4.5 / np.sqrt(arrays)).all()


def simulated(levels, devices, conditions, cycles, seed):
    """Cells of both states, simulated cycle by cycle."""
    rng = np.random.default_rng(seed)
    effect = rng.multivariate_normal(
        [0, 0], [[1, levels.state_correlation], [levels.state_correlation, 1]], size=devices
    )
    cells = []
    for s, name in enumerate(("lrs", "hrs")):
        share = getattr(levels, f"device_share_{name}")
        phi = getattr(levels, f"cycle_correlation_{name}")
        e = rng.normal(size=(devices, conditions))
        series = []
        for _ in range(cycles):
            series.append(np.sqrt(share) * effect[:, s, None] + np.sqrt(1 - share) * e)
            e = phi * e + np.sqrt(1 - phi**2) * rng.normal(size=e.shape)
        scores = np.stack(series, axis=-1).ravel()
        device = np.repeat(np.arange(devices), conditions * cycles)
        condition = np.tile(np.repeat(np.arange(conditions), cycles), devices)
        cells.append(score_cells(scores, device, condition))
    return cells


def standard_errors(w, phi, *, devices):
    """Cramer-Rao bounds of share and cycle correlation: 3 cells of 6 cycles per device."""

    def covariance(w, phi):
        lag = abs(np.subtract.outer(np.arange(6), np.arange(6)))
        return w + (1 - w) * np.kron(np.eye(3), phi**lag)

    inverse = np.linalg.inv(covariance(w, phi))
    h = 1e-5
    slopes = [
        (covariance(w + h, phi) - covariance(w - h, phi)) / (2 * h),
        (covariance(w, phi + h) - covariance(w, phi - h)) / (2 * h),
    ]
    information = [
        [0.5 * devices * np.trace(inverse @ a @ inverse @ b) for b in slopes] for a in slopes
    ]
    return np.sqrt(np.diag(np.linalg.inv(information)))


def test_recovery_of_the_levels():
    truth = Levels(0.5, 0.2, 0.4, 0.1, 0.25)
    cells = simulated(truth, 300, 3, 6, seed=3)
    options = SamplerOptions(chains=2, draws=500, warmup=400, seed=4, target_accept=0.9)
    draws = fit_levels(*cells, np.zeros(300, int), options=options)
    names = {
        "device_share_lrs",
        "device_share_hrs",
        "cycle_correlation_lrs",
        "cycle_correlation_hrs",
        "state_correlation",
    }
    assert set(draws.data_vars) == names
    assert draws["device_share_lrs"].dims == ("chain", "draw")
    assert max(r_hat(draws).values()) < 1.02
    assert draws.attrs["divergences"] == 0
    sds = {}
    for name in names:
        values = draws[name].values
        sds[name] = values.std()
        # Five checks: |z| < 3.3 fails a correct program once in 200 seeds; rho feels its prior.
        assert abs(values.mean() - getattr(truth, name)) < 3.3 * sds[name], name
    # As narrow as the Fisher information of 300 devices says (states taken alone). The standard
    # deviation of 1,000 draws is known to 4 % or so, the prior takes little away.
    for state, w, phi in (("lrs", 0.5, 0.4), ("hrs", 0.2, 0.1)):
        errors = standard_errors(w, phi, devices=300)
        assert sds[f"device_share_{state}"] == pytest.approx(errors[0], rel=0.2)
        assert sds[f"cycle_correlation_{state}"] == pytest.approx(errors[1], rel=0.2)


def test_one_reading_per_device_is_refused():
    scores = norm.rvs(size=20, random_state=5)
    cells = score_cells(scores, np.arange(20), np.arange(20) % 4)
    with pytest.raises(ValueError, match="no device has two readings"):
        fit_levels(cells, cells, np.zeros(20, int), options=SamplerOptions())
