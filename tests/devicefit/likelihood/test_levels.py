"""Levels of variability.

Reference: the full covariance matrix of all readings, written down element by element from the
definition in the module's docstring, and SciPy's multivariate normal density. Gradients, those of
the formulas in PyTensor: central differences of that density.
"""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytensor.compile.mode import Mode
from scipy.stats import multivariate_normal, norm

from devicefit.likelihood.compressed import DeviceCells
from devicefit.likelihood.level_density import (
    CellStatistics,
    ln_density,
    ln_left_out,
)
from devicefit.likelihood.levels import Levels, identifiable, level_priors, levels_of

NAMES = [f.name for f in fields(Levels)]
LEVELS = Levels(0.45, 0.2, 0.4, -0.25, 0.3, 0.15, 0.1)
MEAN = {"LRS": np.array([8.5, 8.7, 9.0]), "HRS": np.array([11.0, 11.4, 11.2])}
SD = {"LRS": np.array([0.2, 0.3, 0.25]), "HRS": np.array([0.5, 0.45, 0.6])}
# (device, condition): readings of LRS and of HRS. Device 4 has no HRS, device 5 nothing at all.
UNBALANCED = {
    (0, 0): (1, 2),
    (0, 1): (5, 1),
    (1, 0): (2, 2),
    (1, 2): (1, 5),
    (2, 1): (1, 0),
    (2, 2): (0, 3),
    (3, 0): (3, 3),
    (4, 2): (2, 0),
}


def ln_likelihood(levels, cells_lrs, cells_hrs, mean, sd, device_array):
    """:func:`ln_density` of cells, in numbers."""
    cells = {"LRS": CellStatistics.of(cells_lrs), "HRS": CellStatistics.of(cells_hrs)}
    arrays = int(np.max(device_array, initial=-1)) + 1
    return float(ln_density(np, levels, cells, mean, sd, device_array, arrays))


def cells_of(readings):
    """Cells from a dict (device, condition) -> readings in order of cycle, reading by reading."""
    keys = sorted(k for k, v in readings.items() if len(v))
    rows = []
    for key in keys:
        y = np.asarray(readings[key], dtype=float)
        mean = sum(y) / len(y)
        off = [v - mean for v in y]
        lag = sum(a * b for a, b in pairwise(off))
        rows.append([*key, len(y), mean, sum(v * v for v in off), lag, off[0], off[-1]])
    table = np.array(rows, dtype=float).reshape(-1, 8)
    whole = [table[:, i].astype(np.int64) for i in range(3)]
    return DeviceCells(*whole, *(table[:, i] for i in range(3, 8)))


def simulated(counts, seed, *, mean=MEAN, sd=SD):
    """Readings around the means, not from the model: the density must be right anywhere."""
    rng = np.random.default_rng(seed)
    return [
        {
            (d, c): mean[s][c] + 1.3 * sd[s][c] * rng.normal(size=n[i])
            for (d, c), n in counts.items()
        }
        for i, s in enumerate(("LRS", "HRS"))
    ]


def dense_law(levels, readings, mean, sd, array):
    """Values, means and covariance matrix of all readings."""
    rows = [
        (s, d, c, t, y)
        for s, both in zip(("LRS", "HRS"), readings, strict=True)
        for (d, c), series in sorted(both.items())
        for t, y in enumerate(series)
    ]
    of = {
        s: {
            n: getattr(levels, f"{n}_{s.lower()}")
            for n in ("device_share", "cycle_correlation", "array_share")
        }
        for s in ("LRS", "HRS")
    }
    covariance = np.zeros((len(rows), len(rows)))
    for i, (s, d, c, t, _) in enumerate(rows):
        for j, (s2, d2, c2, t2, _) in enumerate(rows):
            r = 0.0
            if s == s2 and array[d] == array[d2]:
                r += of[s]["array_share"]
            if d == d2:
                shares = np.sqrt(of[s]["device_share"] * of[s2]["device_share"])
                r += shares * (1.0 if s == s2 else levels.state_correlation)
            if (s, d, c) == (s2, d2, c2):
                new = 1 - of[s]["device_share"] - of[s]["array_share"]
                r += new * of[s]["cycle_correlation"] ** abs(t - t2)
            covariance[i, j] = r * sd[s][c] * sd[s2][c2]
    centre = np.array([mean[s][c] for s, _, c, _, _ in rows])
    return np.array([row[-1] for row in rows]), centre, covariance


def dense_ln_density(levels, readings, mean, sd, array):
    y, centre, covariance = dense_law(levels, readings, mean, sd, array)
    return multivariate_normal(centre, covariance).logpdf(y)


@pytest.mark.parametrize("array", [[0] * 6, [0, 0, 1, 1, 2, 0], [2, 1, 0, 2, 1, 0]])
@pytest.mark.parametrize(
    "levels",
    [
        LEVELS,
        Levels(),
        replace(LEVELS, array_share_lrs=0.0, array_share_hrs=0.0),
        replace(LEVELS, cycle_correlation_lrs=0.0, cycle_correlation_hrs=0.0),
        replace(LEVELS, device_share_lrs=0.0),
        replace(LEVELS, cycle_correlation_lrs=0.97, state_correlation=-0.95),
    ],
)
def test_value_is_that_of_the_full_covariance(levels, array):
    readings = simulated(UNBALANCED, 1)
    found = ln_likelihood(levels, *map(cells_of, readings), MEAN, SD, np.array(array))
    expected = dense_ln_density(levels, readings, MEAN, SD, array)
    assert found == pytest.approx(expected, rel=1e-10)


def test_without_levels_readings_are_independent():
    readings = simulated(UNBALANCED, 2)
    found = ln_likelihood(Levels(), *map(cells_of, readings), MEAN, SD, np.zeros(6, int))
    expected = sum(
        norm(MEAN[s][c], SD[s][c]).logpdf(y).sum()
        for s, both in zip(("LRS", "HRS"), readings, strict=True)
        for (_, c), y in both.items()
    )
    assert found == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    shares=st.lists(st.floats(0, 0.49), min_size=4, max_size=4),
    phi=st.lists(st.floats(-0.9, 0.95), min_size=2, max_size=2),
    rho=st.floats(-0.95, 0.95),
    counts=st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(0, 2)),
        st.tuples(st.integers(0, 4), st.integers(0, 4)),
        min_size=1,
        max_size=6,
    ).filter(lambda c: any(sum(n) for n in c.values())),
    array=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_any_design_and_levels(shares, phi, rho, counts, array, seed):
    levels = Levels(shares[0], shares[1], *phi, rho, shares[2], shares[3])
    readings = simulated(counts, seed)
    found = ln_likelihood(levels, *map(cells_of, readings), MEAN, SD, np.array(array))
    expected = dense_ln_density(levels, readings, MEAN, SD, array)
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-8)


GRADIENT_ARRAY = [0, 0, 1, 1, 2, 0]
GRADIENT_READINGS = simulated(UNBALANCED, 3)


@pytest.fixture(scope="module")
def density():
    """Value and gradient of a PyMC model's formulas, in (levels, means, sds)."""
    numbers = {name: pt.dscalar(name) for name in NAMES}
    vectors = [pt.dvector() for _ in range(4)]
    laws = [dict(zip(("LRS", "HRS"), vectors[i : i + 2], strict=True)) for i in (0, 2)]
    with pm.Model():
        cells = {
            s: CellStatistics.of(cells_of(r)).as_data(s)
            for s, r in zip(("LRS", "HRS"), GRADIENT_READINGS, strict=True)
        }
        array = pm.Data("device_array", np.array(GRADIENT_ARRAY, np.int32))
    value = ln_density(pt, Levels(**numbers), cells, *laws, array, 3)
    inputs = [*numbers.values(), *vectors]
    function = pytensor.function(
        inputs,
        [value, *pytensor.grad(value, inputs)],
        # machine code would take longer than all evaluations here
        mode=Mode(linker="py", optimizer=None),
    )

    def evaluate(x):
        found, *slopes = function(*x[:7], *np.split(x[7:], 4))
        return float(found), np.concatenate([np.atleast_1d(s) for s in slopes])

    return evaluate


def flat(levels):
    of_states = [law[s] for law in (MEAN, SD) for s in ("LRS", "HRS")]
    return np.concatenate([[getattr(levels, n) for n in NAMES], *of_states])


def test_value_and_gradient_in_a_pymc_model(density, differences):
    def reference(x):
        return dense_ln_density(
            Levels(*x[:7]),
            GRADIENT_READINGS,
            {"LRS": x[7:10], "HRS": x[10:13]},
            {"LRS": x[13:16], "HRS": x[16:19]},
            GRADIENT_ARRAY,
        )

    for levels in (LEVELS, replace(LEVELS, state_correlation=0.0, cycle_correlation_hrs=0.6)):
        x = flat(levels)
        value, gradient = density(x)
        assert value == pytest.approx(reference(x), rel=1e-10)
        # Error near h^4 f'''''/30 + 1e-14 |f| / h, h = 1e-3.
        slopes = differences(reference, x)
        np.testing.assert_allclose(gradient, slopes, rtol=2e-6, atol=2e-6)


def test_gradient_where_lasting_effects_are_small(density, differences):
    # shares of what their priors call unlikely; at zero itself the square root has no slope
    small = replace(
        LEVELS, device_share_lrs=1e-3, device_share_hrs=1e-3, array_share_lrs=2e-3,
        array_share_hrs=2e-3
    )  # fmt: skip
    x = flat(small)

    def reference(first):
        laws = [dict(zip(("LRS", "HRS"), law, strict=True)) for law in (MEAN.values(), SD.values())]
        levels = Levels(*first, *x[5:7])
        return dense_ln_density(levels, GRADIENT_READINGS, *laws, GRADIENT_ARRAY)

    slopes = differences(reference, x[:5], 1e-5)
    np.testing.assert_allclose(density(x)[1][:5], slopes, rtol=1e-5, atol=1e-5)


def test_missing_state():
    lrs, _ = simulated(UNBALANCED, 5)
    found = ln_likelihood(
        LEVELS, cells_of(lrs), cells_of({}), MEAN, SD, np.array([0, 0, 1, 1, 2, 0])
    )
    expected = dense_ln_density(LEVELS, [lrs, {}], MEAN, SD, [0, 0, 1, 1, 2, 0])
    assert found == pytest.approx(expected, rel=1e-10)


def test_no_readings():
    assert ln_likelihood(LEVELS, cells_of({}), cells_of({}), MEAN, SD, np.zeros(2, int)) == 0.0


@pytest.mark.parametrize(
    ("array", "conditions", "message"),
    [
        (np.zeros(4, int), 3, "device 4, but device_array has 4 entries"),
        (np.zeros(6, int), 2, "condition 2, but mean has 2"),
    ],
)
def test_indices_beyond_the_end_are_refused(array, conditions, message):
    cells = [cells_of(r) for r in simulated(UNBALANCED, 10)]
    mean = {s: m[:conditions] for s, m in MEAN.items()}
    with pytest.raises(ValueError, match=message):
        ln_left_out(LEVELS, *cells, mean, SD, array)


def test_many_cycles_lose_no_digits():
    # 2,000 cycles; the covariance matrix of one cell is a Toeplitz matrix plus a constant.
    rng = np.random.default_rng(6)
    y = {(0, 0): MEAN["LRS"][0] + 0.2 * rng.normal(size=2000)}
    found = ln_likelihood(LEVELS, cells_of(y), cells_of({}), MEAN, SD, np.zeros(1, int))
    lag = abs(np.subtract.outer(np.arange(2000), np.arange(2000)))
    covariance = 0.04 * (0.6 + 0.4 * 0.4**lag)
    residual = y[0, 0] - MEAN["LRS"][0]
    expected = -0.5 * (
        residual @ np.linalg.solve(covariance, residual)
        + np.linalg.slogdet(covariance)[1]
        + 2000 * np.log(2 * np.pi)
    )
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("array", [[0] * 6, [0, 0, 1, 1, 2, 0]])
def test_density_left_out_is_that_of_the_conditional_normal(array):
    readings = simulated(UNBALANCED, 7)
    found = ln_left_out(LEVELS, *map(cells_of, readings), MEAN, SD, np.array(array))
    everything = dense_ln_density(LEVELS, readings, MEAN, SD, array)
    for device in range(6):
        others = [{k: v for k, v in both.items() if k[0] != device} for both in readings]
        expected = everything - dense_ln_density(LEVELS, others, MEAN, SD, array)
        assert found[device] == pytest.approx(expected, abs=1e-9)


def test_density_left_out_adds_up_without_array_effects():
    levels = replace(LEVELS, array_share_lrs=0.0, array_share_hrs=0.0)
    arguments = (levels, *map(cells_of, simulated(UNBALANCED, 8)), MEAN, SD, np.zeros(6, int))
    assert ln_left_out(*arguments).sum() == pytest.approx(ln_likelihood(*arguments))


def counts_of(**designs):
    """Cells with given numbers of readings, values irrelevant."""
    return [
        cells_of({k: np.arange(n, dtype=float) for k, n in designs.get(s, {}).items()})
        for s in ("lrs", "hrs")
    ]


D, C, R, A = (
    "logit_device_share_",
    "atanh_cycle_correlation_",
    "atanh_state_correlation",
    "logit_array_part_",
)


@pytest.mark.parametrize(
    ("lrs", "hrs", "array", "expected"),
    [
        ({(0, 0): 1, (1, 1): 1}, {(0, 0): 1, (1, 0): 1}, [0, 0], set()),
        ({(0, 0): 2, (1, 1): 1}, {}, [0, 0], {D + "lrs"}),
        ({(0, 0): 1, (0, 1): 1}, {}, [0, 0], {D + "lrs"}),
        ({(0, 0): 3}, {}, [0], {D + "lrs", C + "lrs"}),
        ({(0, 0): 2, (0, 1): 1}, {}, [0], {D + "lrs", C + "lrs"}),
        ({(0, 0): 2, (1, 0): 1, (1, 1): 1}, {}, [0, 0], {D + "lrs"}),
        ({(0, 0): 2}, {(0, 0): 2}, [0], {D + "lrs", D + "hrs", R}),
        ({(0, 0): 2}, {(1, 0): 2}, [0, 0], {D + "lrs", D + "hrs"}),
        ({(0, 0): 2, (1, 0): 1}, {}, [0, 1], {D + "lrs"}),
        ({(0, 0): 2, (1, 0): 1, (2, 0): 1}, {}, [0, 0, 1], {D + "lrs", A + "lrs"}),
        ({}, {(0, 0): 9, (1, 0): 9, (2, 0): 9}, [0, 0, 1], {D + "hrs", C + "hrs", A + "hrs"}),
    ],
)  # fmt: skip
def test_identifiable(lrs, hrs, array, expected):
    assert identifiable(*counts_of(lrs=lrs, hrs=hrs), np.array(array)) == expected


def test_what_is_not_identifiable_does_not_change_the_density():
    # Two cycles per device, one cell: only device_share + (1 - device_share) phi matters.
    readings = simulated({(d, 0): (2, 0) for d in range(3)}, 9)
    array = np.zeros(3, int)
    values = [
        ln_likelihood(
            Levels(share, 0.2, (0.6 - share) / (1 - share)),
            *map(cells_of, readings),
            MEAN,
            SD,
            array,
        )
        for share in (0.1, 0.5)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_levels_of_parameters():
    p = {
        "logit_device_share_lrs": 0.4,
        "logit_array_part_lrs": -1.0,
        "atanh_state_correlation": 0.2,
    }
    found = levels_of(np, p)
    lasting, part = 1 / (1 + np.exp(-0.4)), 1 / (1 + np.exp(1.0))
    expected = Levels(
        lasting * (1 - part), array_share_lrs=lasting * part, state_correlation=np.tanh(0.2)
    )
    for name in NAMES:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-14)


def test_priors_have_the_names_asked_for_and_centres_from_the_sources():
    names = identifiable(
        *counts_of(lrs={(0, 0): 3, (1, 0): 3, (2, 0): 3}, hrs={(0, 0): 3, (1, 0): 3, (2, 0): 3}),
        np.array([0, 0, 1]),
    )
    priors = {p.name: p for p in level_priors(names)}
    assert set(priors) == names
    assert len(names) == 7
    # Within one prior standard deviation of the shares 0.52 (LRS) and 0.13 (HRS).
    for name, share in ((D + "lrs", 0.52), (D + "hrs", 0.13)):
        assert abs(np.log(share / (1 - share)) - priors[name].mean) < priors[name].sd
    assert (priors[R].mean, priors[R].sd) == (0.0, 0.15)
    assert level_priors(frozenset()) == ()


def test_unknown_prior_lists_the_known():
    with pytest.raises(
        ValueError, match=r"\['nonsense'\]; known: atanh_cycle.*logit_device_share_lrs"
    ):
        level_priors(frozenset({"nonsense"}))
