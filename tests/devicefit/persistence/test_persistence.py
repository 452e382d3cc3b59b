"""Persistent failures.

References: SciPy's adaptive quadrature for likelihoods, simulation by other lines for recovery and
for the calibration of predictions, exact binomial sums without differences between devices.
"""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm

from devicefit.persistence.device_effects import (
    IMMUNE_SHIFT,
    IMMUNE_SPREAD,
    PERSISTENT_SPREAD,
    ln_likelihood_of_counts,
    score_of_mean,
)
from devicefit.persistence.persistence import (
    LOG10_SHARE,
    PERSISTENT_SHIFT,
    TAU,
    Persistence,
    failure_persistence,
    predict_failing,
)


def posterior(*counts, **options):
    return failure_persistence(*counts, **options).persistence


def effect_density(eta, tau, share, shift, immune):
    return (
        (1 - share - immune) * norm.pdf(eta, 0, tau)
        + share * norm.pdf(eta, shift, PERSISTENT_SPREAD)
        + immune * norm.pdf(eta, IMMUNE_SHIFT, IMMUNE_SPREAD)
    )


@pytest.mark.parametrize("mean", [0.0, 1e-14, 1e-6, 0.02, 0.5, 0.97])
@pytest.mark.parametrize(
    ("tau", "share", "shift", "immune"),
    [(0.1, 1e-4, 8.0, 1e-4), (0.7, 0.004, 4.5, 0.02), (2.0, 0.3, 2.0, 0.3)],
)
def test_mean_over_devices_is_the_given_probability(mean, tau, share, shift, immune):
    alpha = float(score_of_mean(np.array([mean]), tau, share, shift, immune)[0])

    def failing(eta):
        return norm.cdf(alpha + eta) * effect_density(eta, tau, share, shift, immune)

    pieces = np.unique([-40.0, -8.0, -4.0, -10 * tau, 0.0, 10 * tau, shift, -alpha, shift + 8, 40])
    found = sum(
        quad(failing, a, b, epsabs=0, epsrel=1e-10, limit=200)[0]
        for a, b in zip(pieces[:-1], pieces[1:], strict=True)
    )
    assert found == pytest.approx(mean, rel=1e-7, abs=1e-300)


@pytest.mark.parametrize(
    ("errors", "trials"),
    [([0, 0], [1, 1]), ([3, 0], [300, 10]), ([290, 5], [300, 5]), ([7, 2], [5000, 40])],
)
def test_likelihood_against_quadrature(errors, trials):
    mean, classes = np.array([0.02, 0.2]), (0.6, 0.01, 4.0, 0.03)
    k, n = np.array(errors, float), np.array(trials, float)
    alpha = score_of_mean(mean, *classes)

    def of_effect(eta):
        return effect_density(eta, *classes) * binom.pmf(k, n, norm.cdf(alpha + eta)).prod()

    peak = norm.ppf((k[0] + 0.5) / (n[0] + 1)) - alpha[0]
    ends = np.clip([-12.0, -4, 0, peak - 0.5, peak, peak + 0.5, 4, 10], -12, 10)
    pieces = np.unique(ends)
    expected = sum(
        quad(of_effect, a, b, epsabs=0, epsrel=1e-9, limit=300)[0]
        for a, b in zip(pieces[:-1], pieces[1:], strict=True)
    )
    ways = binom.logpmf(k, n, 0.5).sum() + n.sum() * np.log(2)
    found = ln_likelihood_of_counts(k[None], (n - k)[None], alpha, *classes)[0] + ways
    assert found == pytest.approx(np.log(expected), abs=1e-5)


def simulated(mean, tau, share, shift, devices, cycles, rng, immune=0.0):
    """Errors of devices drawn one by one; the mean is met by calibrating on 400,000 devices."""
    effects = np.where(
        rng.random(400_000) < share,
        rng.normal(shift, PERSISTENT_SPREAD, 400_000),
        rng.normal(0, tau, 400_000),
    )
    stuck = rng.random(400_000) < immune
    effects[stuck] = rng.normal(IMMUNE_SHIFT, IMMUNE_SPREAD, stuck.sum())
    low, high = -30.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if norm.cdf(middle + effects).mean() < mean else (low, middle)
    chosen = rng.choice(effects, size=devices)
    return rng.binomial(cycles, norm.cdf(low + chosen))


def test_recovery_with_persistent_devices():
    rng = np.random.default_rng(1)
    errors = simulated(0.03, 0.7, 0.02, 4.5, 1500, 100, rng)
    found = posterior(
        np.arange(1500),
        np.zeros(1500, int),
        errors,
        np.full(1500, 100),
        np.array([0.03]),
        rng=rng,
    )
    for values, truth in (
        (found.tau, 0.7),
        (np.log(found.persistent_share), np.log(0.02)),
        (found.persistent_shift, 4.5),
    ):
        assert abs(values.mean() - truth) < 3.3 * values.std()
        assert values.std() > 0
    assert found.tau.std() < 0.05
    assert np.log(found.persistent_share).std() < 0.4


def test_recovery_with_immune_devices():
    rng = np.random.default_rng(9)
    # Ordinary devices fail in most cycles, so that those which never do can be told apart.
    errors = simulated(0.8, 0.5, 1e-9, 4.0, 800, 30, rng, immune=0.04)
    found = posterior(
        np.arange(800), np.zeros(800, int), errors, np.full(800, 30), np.array([0.8]), rng=rng
    )
    ln_share = np.log(found.immune_share)
    assert abs(ln_share.mean() - np.log(0.04)) < 3.3 * ln_share.std()
    assert 0 < ln_share.std() < 0.4
    assert abs(found.tau.mean() - 0.5) < 3.3 * found.tau.std()


def test_equal_devices_have_little_spread():
    rng = np.random.default_rng(2)
    errors = rng.binomial(200, 0.03, size=600)
    found = posterior(
        np.arange(600), np.zeros(600, int), errors, np.full(600, 200), np.array([0.03]), rng=rng
    )
    assert np.quantile(found.tau, 0.95) < 0.2
    assert np.quantile(found.persistent_share, 0.9) < 0.01
    # Where ordinary devices hardly ever fail, immune ones go unnoticed; here most would be seen.
    assert np.quantile(found.immune_share, 0.9) < 0.02


def test_conditions_of_a_device_are_pooled():
    # Errors of one device at one condition only: tau is known from there, not from the others.
    rng = np.random.default_rng(3)
    errors = simulated(0.1, 0.8, 1e-9, 4.0, 500, 50, rng)
    device = np.tile(np.arange(500), 2)
    condition = np.repeat([4, 9], 500)  # other conditions have no readings
    probability = np.full(10, 0.1)
    both = np.concatenate([errors, np.zeros(500, int)])
    trials = np.concatenate([np.full(500, 50), np.zeros(500, int)])
    pooled = posterior(device, condition, both, trials, probability, rng=np.random.default_rng(4))
    alone = posterior(
        np.arange(500),
        np.zeros(500, int),
        errors,
        np.full(500, 50),
        np.array([0.1]),
        rng=np.random.default_rng(4),
    )
    np.testing.assert_allclose(pooled.tau, alone.tau)
    assert abs(alone.tau.mean() - 0.8) < 3.3 * alone.tau.std()


def test_evidence_against_the_plain_average_over_the_priors():
    errors, trials = np.array([0, 0, 1, 7, 20, 0]), np.full(6, 20)
    counts = (np.arange(6), np.zeros(6, int), errors, trials)
    found = failure_persistence(*counts, np.array([0.2]), rng=np.random.default_rng(10))
    rng = np.random.default_rng(11)
    n = 6000
    tau, shift = rng.uniform(*TAU, n), rng.uniform(*PERSISTENT_SHIFT, n)
    share, immune = (10.0 ** rng.uniform(*LOG10_SHARE, n) for _ in range(2))
    likelihood = np.empty(n)
    for i, classes in enumerate(zip(tau, share, shift, immune, strict=True)):
        alpha = score_of_mean(np.array([0.2]), *classes)
        of_devices = ln_likelihood_of_counts(
            errors[:, None].astype(float), (trials - errors)[:, None].astype(float), alpha, *classes
        )
        likelihood[i] = np.exp(of_devices.sum() - found.ln_evidence)
    # Both are averages over points; the importance sample has the smaller error of the two.
    error = likelihood.std() / np.sqrt(n)
    assert error < 0.05
    assert abs(likelihood.mean() - 1.0) < 4 * error


def test_same_generator_same_draws():
    arguments = (np.arange(9), np.zeros(9, int), np.arange(9), np.full(9, 20), np.array([0.2]))
    one, two = (posterior(*arguments, draws=50, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.tau, two.tau)
    np.testing.assert_array_equal(one.persistent_shift, two.persistent_shift)


def constant(tau, share, shift, draws, immune=1e-12):
    return Persistence(*(np.full(draws, float(x)) for x in (tau, share, shift, immune)))


def test_prediction_without_differences_is_binomial():
    draws, devices, cycles, p = 4000, 40, 25, 0.004
    found = predict_failing(
        np.arange(devices),
        np.zeros(devices, int),
        np.full(devices, cycles),
        np.full((draws, 1), p),
        constant(1e-9, 1e-12, 4.0, draws),
        rng=np.random.default_rng(6),
    )
    assert found.errors.shape == (draws, devices)
    any_error = -np.expm1(cycles * np.log1p(-p))
    for values, law in (
        (found.errors.sum(axis=1), binom(devices * cycles, p)),
        (found.devices, binom(devices, any_error)),
    ):
        # Four checks, z = 3.5; the variance of a sample variance of a binomial is near 2 var^2 / n.
        assert abs(values.mean() - law.mean()) < 3.5 * law.std() / np.sqrt(draws)
        assert values.var() == pytest.approx(law.var(), rel=3.5 * np.sqrt(2.5 / draws))


def test_prediction_with_differences():
    # The share of devices with an error in 10 cycles, by quadrature over the effect of a device.
    tau, share, shift, immune, cycles, p = 0.9, 0.05, 4.0, 0.2, 10, 0.03
    alpha = float(score_of_mean(np.array([p]), tau, share, shift, immune)[0])

    def failing(eta):
        density = effect_density(eta, tau, share, shift, immune)
        return density * -np.expm1(cycles * norm.logsf(alpha + eta))

    expected = quad(failing, -12, 12, points=[-4, 0, 4], limit=200)[0]
    draws, devices = 500, 200
    found = predict_failing(
        np.repeat(np.arange(devices), 2),  # 10 cycles in two rows of 5
        np.tile([0, 1], devices),
        np.full(2 * devices, 5),
        np.full((draws, 2), p),
        constant(tau, share, shift, draws, immune),
        rng=np.random.default_rng(7),
    )
    error = np.sqrt(expected * (1 - expected) / (draws * devices))
    assert abs(found.devices.mean() / devices - expected) < 3.5 * error
    # Control: without differences far more devices would have one.
    assert expected + 3.5 * error < -np.expm1(cycles * np.log1p(-p))
    assert found.errors.mean() / 5 == pytest.approx(p, rel=0.05)


def test_devices_may_differ_otherwise_at_each_condition():
    # Alike at the first condition, half of the devices nearly immune at the second.
    draws, devices, cycles = 400, 200, 30
    shape = np.ones((draws, 1))
    classes = (np.array([1e-6, 1e-6]), np.array([1e-12, 1e-12]), np.array([4.0, 4.0]))
    persistence = Persistence(*(shape * c for c in classes), shape * np.array([1e-12, 0.3]))
    rows = (np.tile(np.arange(devices), 2), np.repeat([0, 1], devices))
    trials = np.full(2 * devices, cycles)
    mean = np.full((draws, 2), 0.5)
    rng = np.random.default_rng(12)
    found = predict_failing(*rows, trials, mean, persistence, rng=rng).errors
    alike, split = found[:, :devices], found[:, devices:]
    assert abs(alike.mean() / cycles - 0.5) < 4 * np.sqrt(0.25 / alike.size / cycles)
    assert alike.var() == pytest.approx(cycles * 0.25, rel=4 * np.sqrt(2 / alike.size))
    low = (split <= 5).mean()  # immune ones fail with a probability of Phi(0.57 - 4), about 0
    assert abs(low - 0.3) < 4 * np.sqrt(0.21 / split.size) + 0.01


def test_never_and_always():
    found = predict_failing(
        np.arange(3),
        np.array([0, 1, 1]),
        np.array([5, 5, 0]),
        np.tile([0.0, 1.0], (20, 1)),
        constant(0.5, 0.01, 4.0, 20),
        rng=np.random.default_rng(8),
    )
    np.testing.assert_array_equal(found.errors, np.tile([0, 5, 0], (20, 1)))
    np.testing.assert_array_equal(found.devices, np.ones(20))


@pytest.mark.parametrize(
    ("errors", "probability", "message"),
    [
        ([1, 4], [0.1], r"errors\[1\] is 4 of trials\[1\] = 3"),
        ([-1, 0], [0.1], r"errors\[0\] is -1"),
        ([0, 0], [1.2], r"flat index 0\) is 1.2; give 0 to 1"),
        ([0, 0], [np.nan], "is nan"),
    ],
)
def test_impossible_counts_are_refused(errors, probability, message):
    zero = np.zeros(2, int)
    with pytest.raises(ValueError, match=message):
        posterior(
            np.arange(2),
            zero,
            np.array(errors),
            np.full(2, 3),
            np.array(probability),
            rng=np.random.default_rng(0),
        )


def test_number_of_draws_must_agree():
    zero = np.zeros(1, int)
    with pytest.raises(ValueError, match=r"give shape \(5, conditions\)"):
        predict_failing(
            zero,
            zero,
            zero + 3,
            np.full((4, 1), 0.1),
            constant(0.5, 0.01, 4.0, 5),
            rng=np.random.default_rng(0),
        )
