import numpy as np
import pytest

from reliability.energy.measured_curve import curve_draws


def test_straight_line_with_known_errors_is_found_with_its_standard_error() -> None:
    u = np.linspace(-3.0, 5.0, 9)
    sd = np.full(9, 0.01)
    found = curve_draws(
        u, 2.0 + 0.7 * u, sd, np.array([1.0]), draws=4000, rng=np.random.default_rng(1)
    )[:, 0]
    assert found.mean() == pytest.approx(2.7, abs=0.01)
    # Between one point's error and that of a line through all nine: the curve may bend a little.
    assert 0.01 / np.sqrt(9) < found.std() < 0.02


def test_truth_is_covered_as_often_as_promised() -> None:
    """Ninety 90 % intervals at places of simulated smooth curves; 81 expected.

    Binomial standard error 2.8; places of one curve are correlated, so the limit is 3 of them.
    """
    rng = np.random.default_rng(2)
    at = np.array([0.13, 0.5, 0.85])
    inside = 0
    for _ in range(30):
        slope, bend, phase = rng.normal(0, 2), rng.normal(0, 0.2), rng.uniform(0, 6)

        def truth(u, slope=slope, bend=bend, phase=phase):
            return slope * u + bend * np.sin(4 * u + phase)

        u = np.sort(rng.random(6))
        u[[0, -1]] = 0.0, 1.0
        y = truth(u) + rng.normal(0, 0.05, 6)
        found = curve_draws(u, y, np.full(6, 0.05), at, draws=400, rng=rng)
        low, high = np.quantile(found, [0.05, 0.95], axis=0)
        inside += int(((low < truth(at)) & (truth(at) < high)).sum())
    assert 81 - 9 <= inside <= 90


def test_points_that_scatter_beyond_their_errors_widen_the_curve() -> None:
    u, at = np.linspace(0, 1, 12), np.array([0.5])
    off = 0.3 * np.random.default_rng(3).standard_normal(12)
    calm, rough = (
        curve_draws(u, u + y, np.full(12, 0.01), at, draws=1000, rng=np.random.default_rng(4))
        for y in (np.zeros(12), off)
    )
    assert rough.std() > 4 * calm.std()


def test_beyond_the_points_the_interval_widens() -> None:
    u = np.array([0.0, 0.5, 1.0])
    found = curve_draws(
        u, u, np.full(3, 0.05), np.array([0.5, 1.0, 1.5]), draws=2000, rng=np.random.default_rng(5)
    )
    assert found[:, 1].std() < 0.5 * found[:, 2].std()


def test_repeats_and_two_points_are_enough_and_one_is_not() -> None:
    rng = np.random.default_rng(6)
    u = np.array([0.0, 0.0, 1.0])
    found = curve_draws(u, np.array([1.0, 1.0, 2.0]), np.zeros(3), u, draws=50, rng=rng)
    np.testing.assert_allclose(found.mean(axis=0), [1, 1, 2], atol=0.05)
    with pytest.raises(ValueError, match="two or more programming values"):
        curve_draws(np.zeros(2), np.zeros(2), np.ones(2), u, draws=5, rng=rng)


def test_posterior_equals_quadrature_for_fixed_nodes() -> None:
    """Mean and variance against scikit-learn's Gaussian process, mixed over the same nodes."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

    from reliability.energy.measured_curve import LINE, _nodes

    u = np.array([0.0, 0.3, 0.7, 1.0])
    y, sd = np.array([0.1, 0.5, 0.2, 1.0]), np.array([0.05, 0.02, 0.1, 0.05])
    at = np.array([0.45, 0.9])
    weights, means, variances = [], [], []
    for amplitude, length, scatter in _nodes():
        kernel = (
            ConstantKernel(LINE**2, "fixed")
            + ConstantKernel(LINE**2, "fixed") * DotProduct(0.0, "fixed")
            + ConstantKernel(amplitude**2, "fixed") * Matern(length, "fixed", nu=2.5)
        )
        model = GaussianProcessRegressor(
            kernel, alpha=sd**2 + scatter**2 + 1e-10, optimizer=None
        ).fit(u[:, None] - 0.5, y - y.mean())
        weights.append(model.log_marginal_likelihood_value_)
        mean, spread = model.predict(at[:, None] - 0.5, return_std=True)
        means.append(mean)
        variances.append(spread**2)
    w = np.exp(np.array(weights) - max(weights))
    w /= w.sum()
    mean = w @ np.array(means)
    sd_expected = np.sqrt(w @ (np.array(variances) + (np.array(means) - mean) ** 2))
    n = 20_000
    found = curve_draws(u, y, sd, at, draws=n, rng=np.random.default_rng(7))
    # z = 4; the relative standard error of a standard deviation of heavy-tailed draws is below 3 %.
    np.testing.assert_allclose(
        found.mean(axis=0) - y.mean(), mean, atol=4 * sd_expected.max() / np.sqrt(n)
    )
    np.testing.assert_allclose(found.std(axis=0), sd_expected, rtol=0.1)
