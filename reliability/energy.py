"""Programming energy per bit, as draws, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.fitted import Fitted
from devicefit.models.frame import Frame
from devicefit.programming import Programming
from reliability.energy_table import EnergyTable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
NO_ENERGY = "none"
"""Basis of an energy of which nothing is known."""


_LARGEST = 1e3
"""Volts or seconds that no pulse has."""


@dataclass(frozen=True)
class EnergyOptions:
    """Programming pulses. The defaults are assumptions of usual size, not measurements.

    Every standard deviation is of what is not known: one draw holds for all programming values.

    Parameters
    ----------
    set_voltage_v, reset_voltage_v : float
        Voltage across the cell path during SET and RESET.
    set_pulse_s, reset_pulse_s : float
        Pulse widths. Where a programming variable is the SET pulse width, it takes the place of
        the first.
    voltage_sd, pulse_sd : float
        Relative standard deviation of each voltage and of each pulse width.
    current_sd : float
        Relative standard deviation of all stated currents together (calibration).
    current_slope_sd : float
        Standard deviation of s in I ~ I_stated^(1 + s) about the middle of the range: whether the
        true current follows the stated one, as it does not when a parasitic capacitance
        discharges through the cell. Unlike common factors it does not cancel in a saving.
    reset_current_sd : float
        Standard deviation of ln(I_RESET / I_cc); the RESET current of a filament is about the
        compliance current that formed it.
    inference_sd : float
        Standard deviation of the exponent k in I ~ R_LRS^-k (mean 1), used where the current is
        not known but inferred from the resistance; the published range 0.8 to 1.2 is recalled.
    """

    set_voltage_v: float = 1.2
    reset_voltage_v: float = 1.6
    set_pulse_s: float = 1e-7
    reset_pulse_s: float = 1e-7
    voltage_sd: float = 0.05
    reset_current_sd: float = 0.1
    inference_sd: float = 0.1
    pulse_sd: float = 0.0
    current_sd: float = 0.0
    current_slope_sd: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith("_sd"):
                if not 0 <= value < 1:
                    raise ValueError(f"{name} is {value}; it must lie between 0 and 1")
            elif not 0 < value <= _LARGEST:
                raise ValueError(
                    f"{name} is {value}; it must be positive, at most {_LARGEST:g} (SI units)"
                )

    def at_second(self, frame: Frame) -> EnergyOptions:
        """With the SET pulse width of a device whose second variable is the pulse width."""
        if frame.second is None or frame.second.unit != "s":
            return self
        return replace(self, set_pulse_s=frame.second_reference)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Inferred:
    """The part of an energy that is worked out from the resistance of the device.

    Parameters
    ----------
    stated_j : float array, shape (draw, x), or float
        The other part, which does not depend on the device.
    v2_s : float array, shape (draw, x) or (draw, 1)
        Squared voltages times pulse widths, summed over the pulses that are inferred.
    exponent : float array, shape (draw, 1)
        Of the conductance relative to its middle over the programming values.
    ln_r : float array, shape (draw, x)
        ln of the median LRS resistance of the device of each draw.
    """

    stated_j: FloatArray | float
    v2_s: FloatArray
    exponent: FloatArray
    ln_r: FloatArray

    def joined(self, device: IntArray | slice, inputs: IntArray | slice) -> FloatArray:
        """Energy with the device of one draw and the inputs of another, shape (draw, x)."""
        ln_r, stated = self.ln_r[device], self.stated_j
        middle = ln_r.mean(axis=1, keepdims=True)
        conductance = np.exp(-(middle + self.exponent[inputs] * (ln_r - middle)))
        fixed = stated if isinstance(stated, float) else stated[inputs]
        return np.asarray(fixed + self.v2_s[inputs] * conductance)


@dataclass(frozen=True)
class Energy:
    """Programming energy of one cell, SET plus RESET.

    Parameters
    ----------
    x : float array, shape (x,)
        Programming values, ascending, SI.
    e_cell_j : float array, shape (draw, x)
        Draws over them; NaN where no energy is known.
    programming : Programming
        The programming variable.
    basis : str
        What the numbers rest on, in words; :data:`NO_ENERGY` where no energy is known.
    measured : (float, float), optional
        Range of the programming values at which energies were measured, SI.
    inferred : Inferred, optional
        How the energy depends on the device; None where it does not.
    """

    x: FloatArray
    e_cell_j: FloatArray
    programming: Programming
    basis: str
    measured: tuple[float, float] | None = None
    inferred: Inferred | None = None

    @property
    def is_known(self) -> bool:
        """Whether there are energies at all."""
        return self.basis != NO_ENERGY

    @property
    def extrapolated(self) -> NDArray[np.bool_]:
        """Programming values outside the measured energies, shape (x,)."""
        if self.measured is None:
            return np.zeros(len(self.x), dtype=bool)
        low, high = self.measured
        return np.asarray((self.x < low * (1 - 1e-9)) | (self.x > high * (1 + 1e-9)))

    def of(self, device: IntArray, inputs: IntArray) -> Energy:
        """Energy of the devices of some draws with the inputs of others, draw by draw."""
        if self.inferred is None:
            return replace(self, e_cell_j=self.e_cell_j[inputs])
        return replace(self, e_cell_j=self.inferred.joined(device, inputs), inferred=None)


def no_energy(x: FloatArray, draws: int, programming: Programming) -> Energy:
    """Energy of which nothing is known: every draw is NaN, so that none can pass for a number."""
    return Energy(x, np.full((draws, len(x)), np.nan), programming, NO_ENERGY)


def programming_energy(
    posterior: Fitted,
    x: FloatArray,
    draw: IntArray,
    *,
    options: EnergyOptions | None,
    table: EnergyTable | None = None,
    rng: np.random.Generator,
) -> Energy:
    """Energy to program one cell, for each draw and value of the programming variable.

    SET and RESET each take the best that is there: measured energies; current, voltage and time;
    current inferred from the resistance.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    x : float array, shape (x,)
        Programming values, SI.
    draw : int array, shape (draw,)
        Which draws of the posterior (chains flattened) to use.
    options : EnergyOptions or None
        Pulses; None where nothing is known of them.
    table : EnergyTable, optional
        Measured energies or currents.
    rng : numpy.random.Generator
        For what is not known; one value or one curve per draw.

    Returns
    -------
    Energy

    Raises
    ------
    ValueError
        The table does not belong to the device, or gives a part only and nothing is known of the
        pulses.

    Notes
    -----
    With the compliance current known: ``E = V_SET I t_SET + V_RESET I_RESET t_RESET``. Otherwise
    the current after switching is inferred from the median LRS, ``I = V / R_LRS``, with an
    uncertain exponent that acts relative to the middle of the range. Cells that switch early
    spend the rest of the pulse at this current, so both are upper estimates of a self-terminated
    pulse. Read and compute energy are not included.
    """
    n, programming = len(draw), posterior.frame.programming
    found: dict[str, FloatArray] = {}
    measured_range = None if table is None else table.range
    if table is not None:
        table.check(programming, float(x[0]), float(x[-1]))
        for key in table.columns:
            found[key] = np.exp(table.draws(key, x, programming, draws=n, rng=rng))
        source = f"{table.source}{' (simulated)' if table.simulated else ''}"
    if "e_cell_j" in found:
        basis = f"SET plus RESET energy measured ({source})"
        return Energy(x, found["e_cell_j"], programming, basis, measured_range)
    if "e_set_j" in found and "e_reset_j" in found:
        total = found["e_set_j"] + found["e_reset_j"]
        return Energy(
            x, total, programming, f"SET and RESET energies measured ({source})", measured_range
        )
    if options is None:
        if table is not None:
            raise ValueError(
                f"{table.source} gives {', '.join(table.columns)} only, and nothing is known of "
                "the pulses; give both energies, or voltages and pulse widths"
            )
        return no_energy(x, n, programming)
    pulses = _pulses(posterior, x, draw, options, found.get("i_set_a"), rng)
    words = pulses.words
    known = [key for key in ("e_set_j", "e_reset_j") if key in found]
    if known:
        name = "SET" if known == ["e_set_j"] else "RESET"
        other = "RESET" if name == "SET" else "SET"
        words = f"{name} energy measured ({source}); {other}: {words}"
    elif "i_set_a" in found:
        words = f"SET current measured ({source}); {words}"
    asked = {key: pulses.factor[key] for key in ("e_set_j", "e_reset_j") if key not in found}
    stated: FloatArray | float = found[known[0]] if known else 0.0
    factor = np.asarray(sum(asked.values()))
    if pulses.ln_r is None:
        return Energy(x, stated + factor, programming, words, measured_range)
    inferred = Inferred(stated, factor, pulses.exponent, pulses.ln_r)
    total = inferred.joined(slice(None), slice(None))
    return Energy(x, total, programming, words, measured_range, inferred)


@dataclass(frozen=True)
class _Pulses:
    """Energies of both pulses; where `ln_r` is given, what the conductance multiplies."""

    factor: dict[str, FloatArray]
    words: str
    exponent: FloatArray
    ln_r: FloatArray | None = None


def _pulses(
    posterior: Fitted,
    x: FloatArray,
    draw: IntArray,
    options: EnergyOptions,
    i_set_a: FloatArray | None,
    rng: np.random.Generator,
) -> _Pulses:
    n, programming = len(draw), posterior.frame.programming

    def factor(sd: float) -> FloatArray:
        return np.exp(sd * rng.standard_normal((n, 1)))

    v_set = options.set_voltage_v * factor(options.voltage_sd)
    v_reset = options.reset_voltage_v * factor(options.voltage_sd)
    ratio = factor(options.reset_current_sd)
    t_set = options.set_pulse_s * factor(options.pulse_sd)
    if programming.unit == "s":
        t_set = np.asarray(x, dtype=np.float64)[None, :] * t_set / options.set_pulse_s
    t_reset = options.reset_pulse_s * factor(options.pulse_sd)
    second = posterior.frame.second
    if i_set_a is not None or programming.is_current or (second and second.is_current):
        if i_set_a is None and second is not None and second.is_current:
            i_set_a = posterior.frame.second_reference * factor(options.current_sd)
            words = f"{second.name} known; voltages and pulse widths as given"
        elif i_set_a is None:
            ln_x = np.log(np.asarray(x, dtype=np.float64))[None, :]
            slope = options.current_slope_sd * rng.standard_normal((n, 1))
            stated = np.exp(ln_x + slope * (ln_x - ln_x.mean()))
            i_set_a = stated * factor(options.current_sd)
            words = f"{programming.name} known; voltages and pulse widths as given"
        else:
            words = "voltages and pulse widths as given"
        return _Pulses(
            {
                key: np.broadcast_to(volt * i_set_a * width, (n, len(x)))
                for key, volt, width in (
                    ("e_set_j", v_set, t_set),
                    ("e_reset_j", v_reset * ratio, t_reset),
                )
            },
            words,
            np.ones((n, 1)),
        )
    return _Pulses(
        {"e_set_j": v_set**2 * t_set, "e_reset_j": v_reset**2 * ratio * t_reset},
        "programming current not known; inferred from the median LRS resistance of the whole "
        "read path (I = V / R_LRS)",
        1 + options.inference_sd * rng.standard_normal((n, 1)),
        posterior.mixtures(x)["LRS"].location[0].reshape(-1, len(x))[draw],
    )


def energy_at(energy: Energy, at: FloatArray | float) -> FloatArray:
    """Energy of each draw at its own programming value, ln energy linear between the values.

    Parameters
    ----------
    energy : Energy
        Draws over programming values.
    at : float array, shape (draw,), or float
        Programming values within those of `energy`.

    Returns
    -------
    float array, shape (draw,)
    """
    u = energy.programming.coordinate(energy.x)
    draws = len(energy.e_cell_j)
    v = np.broadcast_to(energy.programming.coordinate(at), (draws,))
    right = np.clip(np.searchsorted(u, v), 1, len(u) - 1)
    weight = np.clip((v - u[right - 1]) / (u[right] - u[right - 1]), 0.0, 1.0)
    rows = np.arange(draws)
    below, above = (np.log(energy.e_cell_j[rows, right - k]) for k in (1, 0))
    return np.asarray(np.exp((1 - weight) * below + weight * above))
