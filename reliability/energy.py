"""Programming energy per bit, as draws, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.fitted import Fitted
from devicefit.programming import Programming

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyOptions:
    """Programming pulses. The defaults are assumptions of usual size, not measurements.

    Parameters
    ----------
    set_voltage_v, reset_voltage_v : float
        Voltage across the cell path during SET and RESET.
    set_pulse_s, reset_pulse_s : float
        Pulse widths.
    voltage_sd : float
        Relative standard deviation of each voltage: what is not known about it. One draw holds
        for all programming values.
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

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith("_sd"):
                if not 0 <= value < 1:
                    raise ValueError(f"{name} is {value}; it must lie between 0 and 1")
            elif not 0 < value < np.inf:
                raise ValueError(f"{name} is {value}; it must be positive")

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Energy:
    """Programming energy of one cell, SET plus RESET.

    Parameters
    ----------
    x : float array, shape (x,)
        Programming values, ascending, SI.
    e_cell_j : float array, shape (draw, x)
        Draws over them.
    programming : Programming
        The programming variable.
    basis : str
        What the numbers rest on, in words.
    """

    x: FloatArray
    e_cell_j: FloatArray
    programming: Programming
    basis: str


def programming_energy(
    posterior: Fitted,
    x: FloatArray,
    draw: NDArray[np.int64],
    *,
    options: EnergyOptions,
    rng: np.random.Generator,
) -> Energy:
    """Energy to program one cell, for each draw and value of the programming variable.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    x : float array, shape (x,)
        Programming values, SI.
    draw : int array, shape (draw,)
        Which draws of the posterior (chains flattened) to use.
    options : EnergyOptions
        Pulses.
    rng : numpy.random.Generator
        For what is not known about the pulses; one value per draw.

    Returns
    -------
    Energy

    Notes
    -----
    With the compliance current known: ``E = V_SET I t_SET + V_RESET I_RESET t_RESET``. Otherwise
    the current after switching is inferred from the median LRS, ``I = V / R_LRS``, with an
    uncertain exponent that acts relative to the middle of the range. Cells that switch early
    spend the rest of the pulse at this current, so both are upper estimates of a self-terminated
    pulse. Read and compute energy are not included.
    """
    n = len(draw)
    v_set = options.set_voltage_v * np.exp(options.voltage_sd * rng.standard_normal((n, 1)))
    v_reset = options.reset_voltage_v * np.exp(options.voltage_sd * rng.standard_normal((n, 1)))
    ratio = np.exp(options.reset_current_sd * rng.standard_normal((n, 1)))
    programming = posterior.frame.programming
    if programming.is_current:
        i_cc_a = np.asarray(x, dtype=np.float64)[None, :]
        energy = (
            v_set * i_cc_a * options.set_pulse_s + v_reset * ratio * i_cc_a * options.reset_pulse_s
        )
        basis = f"{programming.name} known; voltages and pulse widths as given"
        return Energy(x, energy, programming, basis)
    ln_r = posterior.mixtures(x)["LRS"].location[0].reshape(-1, len(x))[draw]
    middle = ln_r.mean(axis=1, keepdims=True)
    exponent = 1 + options.inference_sd * rng.standard_normal((n, 1))
    conductance = np.exp(-(middle + exponent * (ln_r - middle)))
    energy = (
        v_set**2 * conductance * options.set_pulse_s
        + v_reset**2 * ratio * conductance * options.reset_pulse_s
    )
    return Energy(
        x,
        energy,
        programming,
        "programming current not known; inferred from the median LRS resistance of the whole "
        "read path (I = V / R_LRS)",
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
    ln_e = np.log(energy.e_cell_j)
    return np.asarray(np.exp((1 - weight) * ln_e[rows, right - 1] + weight * ln_e[rows, right]))
