"""Programming energy per bit, as draws, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.families.frame import Frame
from devicefit.fitting.filament import Filament
from devicefit.fitting.fitted import Fitted
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr
from reliability.energy.tables import EnergyTable

NO_ENERGY = "none"
"""Basis of an energy of which nothing is known."""

_PULSES = {"e_set_j": "SET", "e_reset_j": "RESET"}

I_REFERENCE_A = 1e-4
"""Current at which V_c is stated, a usual compliance current; it cancels in a saving."""

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
        true current follows the stated one. At weak programming it lies above, where a parasitic
        capacitance discharges through the cell, or below, where cells switch late in the pulse.
        No factor common to all currents, it does not cancel in a saving. The default is assumed: a
        factor 1.26 in the current over a decade.
    reset_current_sd : float
        Standard deviation of ln(I_RESET / I_cc); the RESET current of a filament is about the
        compliance current that formed it.
    v_c_v, v_c_sd : float
        V_c in R_filament = V_c / I^b (I in units of 100 uA), by which a current that is not known
        is inferred, and the standard deviation of ln V_c. 0.4 to 0.6 V is recalled, not looked up,
        and taken for the range that holds with 80 %.
    inference_sd : float
        Standard deviation of ln b. 0.8 to 1.2 is recalled, and taken likewise.
    """

    set_voltage_v: float = 1.2
    reset_voltage_v: float = 1.6
    set_pulse_s: float = 1e-7
    reset_pulse_s: float = 1e-7
    voltage_sd: float = 0.05
    reset_current_sd: float = 0.1
    v_c_v: float = 0.5
    v_c_sd: float = 0.15
    inference_sd: float = 0.15
    pulse_sd: float = 0.0
    current_sd: float = 0.0
    current_slope_sd: float = 0.1

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
    """The part of an energy whose current is worked out from the filament of the device.

    Parameters
    ----------
    stated_j : float array, shape (draw, x) or (draw, 1)
        The other part, which does not depend on the device.
    v_s : float array, shape (draw, x) or (draw, 1)
        What the current is multiplied with: voltages times pulse widths, summed over the pulses.
    ln_v_c, b : float array, shape (draw, 1)
        ``R_filament = V_c / I^b``, the current in units of :data:`I_REFERENCE_A`.
    filament : Filament
        Of the device of each draw, shape (draw, x).
    """

    stated_j: FloatArray
    v_s: FloatArray
    ln_v_c: FloatArray
    b: FloatArray
    filament: Filament

    def joined(self, device: IntArray | slice, inputs: IntArray | slice) -> FloatArray:
        """Energy with the device of one draw and the inputs of another, shape (draw, x)."""
        ln_reference = np.log(I_REFERENCE_A)
        ln_over = self.ln_v_c[inputs] - ln_reference - self.filament.ln_r[device]
        current = np.exp(ln_reference + ln_over / self.b[inputs])
        return np.asarray(self.stated_j[inputs] + self.v_s[inputs] * current)


@short_repr
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
    current inferred from the filament's resistance.

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
    ``E = V_SET I t_SET + V_RESET I_RESET t_RESET`` with the compliance current I. Where it is not
    known it is inferred from the filament that it left, ``R_filament = V_c / I^b`` with V_c and b
    uncertain: the transistor and the wires in series, a part of the LRS, tell nothing of it. Cells
    that switch early spend the rest of the pulse at this current, so both are upper estimates of a
    self-terminated pulse. Read and compute energy are not included.
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
    total, words, inferred = _of_pulses(posterior, x, draw, options, found, rng)
    known = [name for key, name in _PULSES.items() if key in found]
    if known:
        (other,) = set(_PULSES.values()) - set(known)
        words = f"{known[0]} energy measured ({source}); {other}: {words}"
    elif "i_set_a" in found:
        words = f"SET current measured ({source}); {words}"
    return Energy(x, total, programming, words, measured_range, inferred)


def _of_pulses(
    posterior: Fitted,
    x: FloatArray,
    draw: IntArray,
    options: EnergyOptions,
    found: Mapping[str, FloatArray],
    rng: np.random.Generator,
) -> tuple[FloatArray, str, Inferred | None]:
    """Energy by current, voltage and time of the pulses whose energy was not found, in words."""
    n, frame = len(draw), posterior.frame

    def factor(sd: float) -> FloatArray:
        return np.exp(sd * rng.standard_normal((n, 1)))

    v_set = options.set_voltage_v * factor(options.voltage_sd)
    v_reset = options.reset_voltage_v * factor(options.voltage_sd)
    ratio = factor(options.reset_current_sd)
    t_set = options.set_pulse_s * factor(options.pulse_sd)
    if frame.programming.unit == "s":
        t_set = np.asarray(x, dtype=np.float64)[None, :] * t_set / options.set_pulse_s
    t_reset = options.reset_pulse_s * factor(options.pulse_sd)
    v_s = {"e_set_j": v_set * t_set, "e_reset_j": v_reset * ratio * t_reset}
    stated = sum((found[key] for key in v_s if key in found), np.zeros((n, 1)))
    wanted = np.asarray(sum(v_s[key] for key in v_s if key not in found))
    words = "voltages and pulse widths as given"
    if "i_set_a" in found:
        current = found["i_set_a"]
    elif frame.is_current:
        ln_x = np.log(np.asarray(x, dtype=np.float64))[None, :]
        slope = options.current_slope_sd * rng.standard_normal((n, 1))
        current = np.exp(ln_x + slope * (ln_x - ln_x.mean())) * factor(options.current_sd)
        words = f"{frame.programming.name} known; {words}"
    elif frame.second is not None and frame.second.is_current:
        current = frame.second_reference * factor(options.current_sd)
        words = f"{frame.second.name} known; {words}"
    else:
        filament = posterior.filament(x).flat(draw)
        ln_v_c = np.log(options.v_c_v * factor(options.v_c_sd))
        inferred = Inferred(stated, wanted, ln_v_c, factor(options.inference_sd), filament)
        return inferred.joined(slice(None), slice(None)), _inferred_from(filament), inferred
    return np.broadcast_to(stated + wanted * current, (n, len(x))), words, None


def _inferred_from(filament: Filament) -> str:
    """What a current rests on that is not known, in words."""
    part = (
        "the filament's part of the median LRS resistance"
        if filament.series_share is not None
        else "the median LRS resistance, which is taken for the filament's (assumed: at one "
        "condition the series resistance is not told apart)"
    )
    return (
        f"programming current not known; inferred from {part}, R_filament = V_c / I^b with assumed "
        "V_c and b; voltages and pulse widths as given"
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
    return np.exp(_between(energy, np.log(energy.e_cell_j), at))


def series_share_at(energy: Energy, at: FloatArray | float) -> FloatArray | None:
    """Share of the series resistance in the LRS of each draw at its own programming value.

    Parameters as of :func:`energy_at`. None where the energies do not rest on this share: the
    current is known, or the series resistance is not told apart.
    """
    inferred = energy.inferred
    if inferred is None or inferred.filament.series_share is None:
        return None
    return _between(energy, inferred.filament.series_share, at)


def _between(energy: Energy, values: FloatArray, at: FloatArray | float) -> FloatArray:
    """Values (draw, x) of each draw at its own programming value, linear between those of `x`."""
    u = energy.programming.coordinate(energy.x)
    v = np.broadcast_to(energy.programming.coordinate(at), (len(values),))
    right = np.clip(np.searchsorted(u, v), 1, len(u) - 1)
    weight = np.clip((v - u[right - 1]) / (u[right] - u[right - 1]), 0.0, 1.0)
    rows = np.arange(len(values))
    return np.asarray((1 - weight) * values[rows, right - 1] + weight * values[rows, right])
