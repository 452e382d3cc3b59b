import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from devicefit.fitting import DevicePosterior, Diagnostics
from devicefit.models.frame import Frame
from devicefit.priors import core_priors
from devicefit.programming import Programming
from reliability.energy import Energy, EnergyOptions, energy_at, programming_energy

CURRENT = Programming("SET compliance current", "A")


def _posterior(programming: Programming, low: float, high: float) -> DevicePosterior:
    frame = Frame(programming, low, high)
    draws = {p.name: (("chain", "draw"), np.full((1, 50), p.mean)) for p in core_priors(frame)}
    return DevicePosterior(
        "lognormal",
        xr.Dataset(draws),
        frame,
        Diagnostics(1.0, 50, 50, 0, 50),
        {"devices": 10},
    )


def test_known_current_gives_voltage_times_current_times_time() -> None:
    posterior = _posterior(Programming("SET compliance current", "A"), 2e-5, 6e-4)
    x = np.array([2e-5, 1e-4, 6e-4])
    options = EnergyOptions(1.2, 1.6, 1e-7, 2e-7, voltage_sd=0, reset_current_sd=0)
    found = programming_energy(
        posterior, x, np.arange(50), options=options, rng=np.random.default_rng(0)
    )
    expected = 1.2 * x * 1e-7 + 1.6 * x * 2e-7
    np.testing.assert_allclose(found.e_cell_j, np.broadcast_to(expected, (50, 3)))
    assert "known" in found.basis


def test_unknown_voltages_cancel_in_a_ratio_of_known_currents() -> None:
    posterior = _posterior(Programming("SET compliance current", "A"), 2e-5, 6e-4)
    found = programming_energy(
        posterior,
        np.array([2e-5, 6e-4]),
        np.arange(50),
        options=EnergyOptions(),
        rng=np.random.default_rng(1),
    ).e_cell_j
    assert found[:, 0].std() > 0
    np.testing.assert_allclose(found[:, 1] / found[:, 0], 30.0)


def test_inferred_energy_follows_the_resistance() -> None:
    posterior = _posterior(Programming("SET gate voltage", "V"), 1.0, 3.0)
    x = np.linspace(1.4, 3.0, 6)
    draw = np.arange(50)
    exact = EnergyOptions(2.0, 2.0, 1e-6, 1e-6, 0.0, 0.0, inference_sd=0.0)
    found = programming_energy(posterior, x, draw, options=exact, rng=np.random.default_rng(2))
    r_ohm = np.exp(posterior.mixtures(x)["LRS"].location[0].reshape(-1, len(x)))
    np.testing.assert_allclose(found.e_cell_j, 2 * 4.0 * 1e-6 / r_ohm)
    assert "inferred" in found.basis
    unsure = programming_energy(
        posterior, x, draw, options=EnergyOptions(), rng=np.random.default_rng(2)
    ).e_cell_j
    # The exponent acts relative to the middle of the range: ends spread more than the middle.
    ratio = unsure[:, -1] / unsure[:, 0]
    assert ratio.std() > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"set_voltage_v": 0.0}, "set_voltage_v is 0.0; it must be positive"),
        ({"reset_pulse_s": -1.0}, "reset_pulse_s is -1.0"),
        ({"voltage_sd": 1.5}, "voltage_sd is 1.5; it must lie between 0 and 1"),
    ],
)
def test_options_are_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnergyOptions(**values)


@given(st.floats(1e-6, 1e-3), st.floats(0.5, 2.0))
def test_energy_of_a_power_law_is_exact_between_grid_points(at: float, power: float) -> None:
    x = np.geomspace(1e-6, 1e-3, 7)
    energy = np.stack([x**power, 3 * x**power])
    found = energy_at(Energy(x, energy, CURRENT, "test"), at)
    np.testing.assert_allclose(found, [at**power, 3 * at**power], rtol=1e-9)
