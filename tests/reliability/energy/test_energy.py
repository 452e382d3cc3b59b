from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from devicefit.compression.compression import compress
from devicefit.families.frame import Frame
from devicefit.families.prior_tables import core_priors
from devicefit.fitting.fit import DevicePosterior, Diagnostics, fit
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import check_measurements
from devicefit.sampling.options import SamplerOptions
from reliability.energy.energy import (
    Energy,
    EnergyOptions,
    energy_at,
    programming_energy,
    series_share_at,
)
from reliability.energy.tables import read_energies

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
    options = EnergyOptions(
        1.2, 1.6, 1e-7, 2e-7, voltage_sd=0, reset_current_sd=0, current_slope_sd=0
    )
    found = programming_energy(
        posterior, x, np.arange(50), options=options, rng=np.random.default_rng(0)
    )
    expected = 1.2 * x * 1e-7 + 1.6 * x * 2e-7
    np.testing.assert_allclose(found.e_cell_j, np.broadcast_to(expected, (50, 3)))
    assert "known" in found.basis


def test_only_how_the_current_follows_the_stated_one_is_left_in_a_ratio() -> None:
    """Voltages, RESET current and widths cancel; the default slope of the current does not."""
    posterior = _posterior(CURRENT, 2e-5, 6e-4)
    x = np.array([2e-5, 6e-4])

    def ln_ratio(options: EnergyOptions) -> np.ndarray:
        e = programming_energy(
            posterior, x, np.arange(2000) % 50, options=options, rng=np.random.default_rng(1)
        ).e_cell_j
        assert e[:, 0].std() > 0
        return np.log(e[:, 1] / e[:, 0])

    np.testing.assert_allclose(ln_ratio(EnergyOptions(current_slope_sd=0)), np.log(30))
    found = ln_ratio(EnergyOptions())
    # Standard error of the mean and of a standard deviation of 2000 normal draws, z = 4.
    assert found.mean() == pytest.approx(np.log(30), abs=4 * 0.1 * np.log(30) / np.sqrt(2000))
    assert found.std() == pytest.approx(0.1 * np.log(30), rel=0.065)


def _filament_by_hand(p: dict[str, float], position: np.ndarray) -> np.ndarray:
    """Filament beside the HRS of a cell with a gate voltage, in ohm, from the definitions."""
    width = np.exp(p["ln_onset_width"])
    overdrive = width * np.log1p(np.exp((position - p["onset"]) / width))
    filament = np.exp(p["ln_r_filament"]) / (overdrive / 0.1) ** p["exponent"]
    slope = p["hrs_slope"] * np.maximum(position - p["onset"], 0)
    return 1 / (1 / filament + 1 / np.exp(p["ln_r_hrs"] + slope))


def test_inferred_energy_follows_the_filament() -> None:
    """Closed form of one draw; the series resistance takes no part in it."""
    posterior = _posterior(Programming("SET gate voltage", "V"), 1.0, 3.0)
    x = np.linspace(1.6, 3.0, 6)
    draw = np.arange(50)
    exact = EnergyOptions(2.0, 3.0, 1e-6, 1e-7, 0.0, 0.0, v_c_v=0.4, v_c_sd=0.0, inference_sd=0.0)
    found = programming_energy(posterior, x, draw, options=exact, rng=np.random.default_rng(2))
    p = {str(name): float(v.values[0, 0]) for name, v in posterior.draws.data_vars.items()}
    r_ohm = _filament_by_hand(p, (x - 1) / 2)
    expected = (2.0 * 1e-6 + 3.0 * 1e-7) * 0.4 / r_ohm
    np.testing.assert_allclose(found.e_cell_j, np.broadcast_to(expected, (50, 6)), rtol=1e-9)
    assert "inferred from the filament's part" in found.basis
    assert "assumed V_c and b" in found.basis
    path = np.exp(posterior.mixtures(x)["LRS"].location[0, 0, 0])
    assert (r_ohm < 0.9 * path).all()
    # one b for all values of a draw: R = V_c / I^b, in units of 100 uA and its V_c
    unsure = replace(exact, inference_sd=0.2)
    moved = programming_energy(posterior, x, draw, options=unsure, rng=np.random.default_rng(2))
    current = moved.e_cell_j / (2.0 * 1e-6 + 3.0 * 1e-7)
    b = np.log(0.4 / 1e-4 / r_ohm) / np.log(current / 1e-4)
    np.testing.assert_allclose(b, np.broadcast_to(b[:, :1], b.shape), rtol=1e-9)
    assert np.log(b[:, 0]).std() == pytest.approx(0.2, rel=0.4)  # 50 draws, z = 4


def test_level_and_dependence_of_an_inferred_current_are_both_unknown() -> None:
    posterior = _posterior(Programming("SET gate voltage", "V"), 1.0, 3.0)
    x = np.array([1.5, 3.0])
    none = EnergyOptions(voltage_sd=0.0, reset_current_sd=0.0, v_c_sd=0.0, inference_sd=0.0)

    def ratio_and_level(**changes: float) -> tuple[float, float, float]:
        e = programming_energy(
            posterior, x, np.arange(2000) % 50, options=replace(none, **changes),
            rng=np.random.default_rng(3),
        ).e_cell_j  # fmt: skip
        ratio = np.log(e[:, 1] / e[:, 0])
        return float(np.median(ratio)), float(ratio.std()), float(np.log(e[:, 0]).std())

    exact, *both = ratio_and_level()
    assert both == pytest.approx([0, 0], abs=1e-9)
    _, *both = ratio_and_level(v_c_sd=0.2)
    assert both == pytest.approx([0, 0.2], rel=0.065, abs=1e-9)
    median, sd, _ = ratio_and_level(inference_sd=0.1)
    # ln ratio / b: half of the draws on each side, and to first order this spread
    assert (median, sd) == pytest.approx((exact, 0.1 * exact), rel=0.1)


def test_one_condition_does_not_tell_the_filament_from_the_series_resistance() -> None:
    posterior = _posterior(Programming("SET gate voltage", "V"), 2.0, 2.0)
    options = EnergyOptions(2.0, 3.0, 1e-6, 1e-7, 0.0, 0.0, v_c_sd=0.0, inference_sd=0.0)
    found = programming_energy(
        posterior, np.array([2.0]), np.arange(50), options=options, rng=np.random.default_rng(2)
    )
    path = np.exp(posterior.draws["ln_r_lrs"].values[0])
    np.testing.assert_allclose(found.e_cell_j[:, 0], 2.3e-6 * 0.5 / path)
    assert "taken for the filament's (assumed" in found.basis
    assert series_share_at(found, 2.0) is None


def test_share_of_the_series_resistance_at_each_draws_own_value() -> None:
    posterior = _posterior(Programming("SET gate voltage", "V"), 1.0, 3.0)
    rng = np.random.default_rng(6)
    posterior.draws["ln_r_series"] = posterior.draws["ln_r_series"] + rng.standard_normal((1, 50))
    x = np.linspace(1.4, 3.0, 5)
    found = programming_energy(
        posterior, x, np.arange(50), options=EnergyOptions(), rng=np.random.default_rng(2)
    )
    p = {str(n): v.values[0] for n, v in posterior.draws.data_vars.items()}
    p["ln_r_hrs"] = np.full(50, 200.0)  # the share is that of well-programmed cells
    series = np.exp(p["ln_r_series"])
    for at in (x[1], x[4]):
        own = _filament_by_hand(p, np.full(50, (at - 1) / 2))
        np.testing.assert_allclose(series_share_at(found, at), series / (series + own), rtol=1e-9)
    current = _posterior(CURRENT, 2e-5, 6e-4)
    known = programming_energy(
        current, x * 1e-4, np.arange(50), options=EnergyOptions(), rng=np.random.default_rng(2)
    )
    assert series_share_at(known, 2e-4) is None


def test_a_square_law_transistor_in_series() -> None:
    """Simulated truth: I = 2.04e-4 (V - 0.6)^2, R = R_s + V_c / I; energy ratio 12.25, not 6."""
    programming = Programming("SET gate voltage", "V")
    v_c, r_series = 0.5, 1300.0
    p = {
        "onset": (0.6 - 0.9) / 1.1, "exponent": 2.0, "ln_onset_width": np.log(1e-4),
        "ln_r_filament": np.log(v_c / 2.04e-4 / (0.1 * 1.1) ** 2), "ln_r_series": np.log(r_series),
        "ln_r_hrs": 200.0, "hrs_slope": 0.0,
    }  # fmt: skip
    posterior = _posterior(programming, 0.9, 2.0)
    for name, value in p.items():
        posterior.draws[name] = xr.full_like(posterior.draws[name], value)
    x = np.array([1.0, 2.0])
    path = np.exp(posterior.mixtures(x)["LRS"].location[0, 0, 0])
    current = 2.04e-4 * (x - 0.6) ** 2
    np.testing.assert_allclose(path, r_series + v_c / current, rtol=1e-9)
    assert path[0] / path[1] == pytest.approx(6.5, abs=0.1)
    for options in (EnergyOptions(inference_sd=0.0), EnergyOptions()):
        e = programming_energy(
            posterior, x, np.arange(2000) % 50, options=options, rng=np.random.default_rng(4)
        ).e_cell_j
        low, high = np.quantile(e[:, 1] / e[:, 0], [0.05, 0.95])
        assert low <= 1.4**2 / 0.4**2 * (1 + 1e-6)
        assert high >= 1.4**2 / 0.4**2 * (1 - 1e-6)
    assert high / low > 1.5


def test_a_fit_to_readings_of_such_a_device_holds_the_true_ratio() -> None:
    """The same truth, known by 100 readings at each of 8 voltages; the whole path says 6."""
    rng, volts = np.random.default_rng(23), 0.6 + np.sqrt(np.geomspace(2e-5, 4e-4, 8) / 2.04e-4)
    rows = []
    for volt in volts:
        lrs = 1300 + 0.5 / (2.04e-4 * (volt - 0.6) ** 2) * np.exp(0.1 * rng.standard_normal(100))
        hrs = 1.5e5 * np.exp(0.5 * rng.standard_normal(100))
        for state, values in (("LRS", lrs), ("HRS", hrs)):
            rows += [(f"{volt:.4f}-{i}", state, volt, r) for i, r in enumerate(values)]
    table = pd.DataFrame(rows, columns=["device_id", "state", "programming", "resistance_ohm"])
    measurements = check_measurements(
        table, Programming("SET gate voltage", "V"), simulated=True, source="a test"
    )
    sampler = SamplerOptions(chains=2, draws=200, warmup=300, cores=1, seed=1)
    posterior = fit(compress(measurements), family="lognormal", options=sampler)
    found = programming_energy(
        posterior, np.array([1.0, 2.0]), np.arange(400), options=EnergyOptions(),
        rng=np.random.default_rng(5),
    )  # fmt: skip
    ratio = found.e_cell_j[:, 1] / found.e_cell_j[:, 0]
    low, high = np.quantile(ratio, [0.05, 0.95])
    assert low < 12.25 < high
    assert low > 4
    share = series_share_at(found, 2.0)
    assert share is not None
    assert np.quantile(share, 0.95) < 0.9
    path = posterior.mixtures(found.x)["LRS"].location[0]
    assert np.exp(path[..., 0] - path[..., 1]).max() < 8


@pytest.mark.parametrize("unit", ["A", "V"])
def test_devices_and_inputs_of_different_draws_go_together(unit: str) -> None:
    """Against energies worked out for those draws in the first place."""
    programming = Programming("SET compliance current" if unit == "A" else "SET gate voltage", unit)
    posterior = _posterior(programming, 1.0, 3.0)
    rng = np.random.default_rng(4)
    own = posterior.draws["exponent"]
    posterior.draws["exponent"] = own + 0.2 * rng.standard_normal((1, 50))
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
    options = EnergyOptions(
        1.2, 1.6, 1e-7, 2e-7, voltage_sd=0, reset_current_sd=0, current_slope_sd=0
    )
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
    exact = EnergyOptions(2.0, 1e-6, 1e-7, 1e-7, 0.0, 0.0, v_c_sd=0.0, inference_sd=0.0)
    found = programming_energy(
        posterior, x, np.arange(50), options=exact, rng=np.random.default_rng(6)
    )
    r_ohm = np.exp(posterior.filament(x).ln_r.reshape(-1, 2))
    np.testing.assert_allclose(found.e_cell_j, 2.0 * 0.5 * x / r_ohm, rtol=1e-6)


def test_every_uncertainty_is_drawn_and_only_the_slope_is_left_in_a_ratio() -> None:
    posterior = _posterior(CURRENT, 2e-5, 6e-4)
    x = np.array([2e-5, 6e-4])
    none = dict.fromkeys(("voltage_sd", "reset_current_sd", "current_slope_sd"), 0.0)

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
