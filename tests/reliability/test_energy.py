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
from reliability.energy_table import read_energies

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


@pytest.mark.parametrize("unit", ["A", "V"])
def test_devices_and_inputs_of_different_draws_go_together(unit: str) -> None:
    """Against energies worked out for those draws in the first place."""
    programming = Programming("SET compliance current" if unit == "A" else "SET gate voltage", unit)
    posterior = _posterior(programming, 1.0, 3.0)
    rng = np.random.default_rng(4)
    posterior.draws["ln_r_series"] = posterior.draws["ln_r_series"] + rng.standard_normal((1, 50))
    x = np.linspace(1.4, 3.0, 6)
    draw, other = rng.permutation(50), rng.permutation(50)

    def energy(of: np.ndarray) -> Energy:
        return programming_energy(
            posterior, x, of, options=EnergyOptions(), rng=np.random.default_rng(5)
        )

    found = energy(draw)
    np.testing.assert_array_equal(found.of(np.arange(50), np.arange(50)).e_cell_j, found.e_cell_j)
    # The inputs of a row are drawn alike whatever its device.
    expected = energy(draw[other])
    np.testing.assert_allclose(found.of(other, np.arange(50)).e_cell_j, expected.e_cell_j)
    np.testing.assert_allclose(found.of(other, other).e_cell_j, found.e_cell_j[other])
    differ = np.abs(expected.e_cell_j / found.e_cell_j - 1).max() > 0.1
    assert differ == (unit == "V")


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


def _table(tmp_path, text):
    path = tmp_path / "e.csv"
    path.write_text(text)
    return read_energies(path)


def test_measured_energies_come_first(tmp_path) -> None:
    posterior = _posterior(CURRENT, 2e-5, 6e-4)
    x = np.geomspace(2e-5, 6e-4, 5)
    text = "i_cc_a,e_set_j,e_set_se_j,e_reset_j,e_reset_se_j\n" + "".join(
        f"{i},{3e-7 * i},{3e-10 * i},{5e-7 * i},{5e-10 * i}\n" for i in (2e-5, 1e-4, 6e-4)
    )
    found = programming_energy(
        posterior, x, np.arange(50), options=EnergyOptions(), table=_table(tmp_path, text),
        rng=np.random.default_rng(3),
    )  # fmt: skip
    np.testing.assert_allclose(np.median(found.e_cell_j, axis=0), 8e-7 * x, rtol=0.02)
    assert found.basis == "SET and RESET energies measured (e.csv)"
    assert not found.extrapolated.any()


def test_a_measured_part_and_a_part_worked_out(tmp_path) -> None:
    posterior = _posterior(CURRENT, 2e-5, 6e-4)
    text = "i_cc_a,e_set_j,e_set_se_j\n" + "".join(
        f"{i},{9e-7 * i},0\n" for i in (4e-5, 1e-4, 2e-4, 6e-4)
    )
    x = np.geomspace(2e-5, 6e-4, 5)
    options = EnergyOptions(1.2, 1.6, 1e-7, 2e-7, voltage_sd=0, reset_current_sd=0)
    found = programming_energy(
        posterior, x, np.arange(50), options=options, table=_table(tmp_path, text),
        rng=np.random.default_rng(4),
    )  # fmt: skip
    expected = (9e-7 + 1.6 * 2e-7) * x
    np.testing.assert_allclose(np.median(found.e_cell_j, axis=0), expected, rtol=0.05)
    assert found.basis.startswith("SET energy measured (e.csv); RESET: SET compliance current")
    np.testing.assert_array_equal(found.extrapolated, x < 4e-5)
    with pytest.raises(ValueError, match="gives e_set_j only, and nothing is known of the pulses"):
        programming_energy(
            posterior, x, np.arange(50), options=None, table=_table(tmp_path, text),
            rng=np.random.default_rng(4),
        )  # fmt: skip


def test_measured_current_takes_the_place_of_the_inferred_one(tmp_path) -> None:
    posterior = _posterior(Programming("SET gate voltage", "V"), 1.0, 3.0)
    x = np.linspace(1.0, 3.0, 5)
    text = "set_gate_voltage_v,i_set_a,i_set_se_a\n1,1e-4,0\n2,2e-4,0\n3,4e-4,0\n"
    options = EnergyOptions(2.0, 3.0, 1e-7, 1e-7, voltage_sd=0, reset_current_sd=0)
    found = programming_energy(
        posterior, x, np.arange(50), options=options, table=_table(tmp_path, text),
        rng=np.random.default_rng(5),
    )  # fmt: skip
    expected = 5.0 * 1e-7 * 1e-4 * 2 ** (x - 1)
    np.testing.assert_allclose(np.median(found.e_cell_j, axis=0), expected, rtol=0.05)
    assert found.basis.startswith("SET current measured")


def test_the_programmed_pulse_width_is_the_time_of_the_set() -> None:
    posterior = _posterior(Programming("SET pulse width", "s"), 1e-8, 1e-6)
    x = np.array([1e-7, 1e-6])
    exact = EnergyOptions(2.0, 1e-6, 1e-7, 1e-7, 0.0, 0.0, inference_sd=0.0)
    found = programming_energy(
        posterior, x, np.arange(50), options=exact, rng=np.random.default_rng(6)
    )
    r_ohm = np.exp(posterior.mixtures(x)["LRS"].location[0].reshape(-1, 2))
    np.testing.assert_allclose(found.e_cell_j, 4.0 * x / r_ohm, rtol=1e-6)


def test_every_uncertainty_is_drawn_and_only_the_slope_is_left_in_a_ratio() -> None:
    posterior = _posterior(CURRENT, 2e-5, 6e-4)
    x = np.array([2e-5, 6e-4])
    none = dict.fromkeys(("voltage_sd", "reset_current_sd"), 0.0)

    def ratio_and_level(**changes: float) -> tuple[float, float]:
        e = programming_energy(
            posterior, x, np.arange(2000) % 50, options=EnergyOptions(**{**none, **changes}),
            rng=np.random.default_rng(7),
        ).e_cell_j  # fmt: skip
        return float(np.log(e[:, 1] / e[:, 0]).std()), float(np.log(e[:, 0]).std())

    assert ratio_and_level() == pytest.approx((0, 0), abs=1e-12)
    ratio, level = ratio_and_level(current_sd=0.2)
    # Standard error of a standard deviation of 2000 normal draws: 1.6 %, z = 4.
    assert (ratio, level) == pytest.approx((0, 0.2), rel=0.065, abs=1e-12)
    ratio, _ = ratio_and_level(current_slope_sd=0.1)
    assert ratio == pytest.approx(0.1 * np.log(30), rel=0.065)
    ratio, level = ratio_and_level(pulse_sd=0.1)
    # Two independent widths, weights 1.2 and 1.6 of the energy.
    assert (ratio, level) == pytest.approx((0, 0.1 * np.hypot(1.2, 1.6) / 2.8), rel=0.07, abs=1e-12)


def test_no_energy_is_no_number() -> None:
    posterior = _posterior(CURRENT, 2e-5, 6e-4)
    found = programming_energy(
        posterior, np.array([2e-5, 6e-4]), np.arange(5), options=None, rng=np.random.default_rng(8)
    )
    assert found.basis == "none"
    assert not found.is_known
    assert np.isnan(energy_at(found, 1e-4)).all()
