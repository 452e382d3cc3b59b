"""Density of standardised readings with levels, effects of devices and arrays integrated out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from devicefit.inputs.refusals import STATES
from devicefit.likelihood.compressed import DeviceCells
from devicefit.likelihood.levels import Levels
from devicefit.numerics.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class CellStatistics:
    """What the density needs of the cells of one state (arrays, or data of a PyMC model).

    Parameters
    ----------
    device, condition : int array, shape (cell,)
        Of each cell.
    n, mean, squares, lags : float array, shape (cell,)
        Readings, their mean, sums of squared deviations and of products of successive ones.
    ends, ends_squares : float array, shape (cell,)
        Sum of the first and the last deviation, and of their squares.
    """

    device: Any
    condition: Any
    n: Any
    mean: Any
    squares: Any
    lags: Any
    ends: Any
    ends_squares: Any

    @classmethod
    def of(cls, cells: DeviceCells) -> CellStatistics:
        """Of the readings of a state."""
        return cls(
            cells.device,
            cells.condition,
            cells.n.astype(np.float64),
            cells.mean,
            cells.sum_of_squares,
            cells.lag_product,
            cells.first + cells.last,
            cells.first**2 + cells.last**2,
        )

    def as_data(self, state: str) -> CellStatistics:
        """The same as data of the PyMC model in whose context this runs."""
        import pymc as pm  # takes seconds, and commands that evaluate draws have no use for it

        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return CellStatistics(
            **{
                name: pm.Data(
                    f"{state}_cell_{name}",
                    v.astype(np.int32) if v.dtype.kind == "i" else v,
                    dims=f"{state}_cell",
                )
                for name, v in values.items()
            }
        )


@dataclass(frozen=True)
class _Effects:
    """Lasting effects integrated over: ``exp(constant + g' y - y' K y / 2)`` of their mean y."""

    constant: Any
    k_ll: Any
    k_lh: Any
    k_hh: Any
    g_l: Any
    g_h: Any


def ln_density(
    xp: Any,
    levels: Levels,
    cells: Mapping[str, CellStatistics],
    mean: Mapping[str, Any],
    sd: Mapping[str, Any],
    device_array: Any,
    arrays: int,
) -> Any:
    """Log density of ln R of all readings, effects of devices and arrays integrated out.

    Parameters
    ----------
    xp : module
        ``numpy`` or ``pytensor.tensor``; the formulas are the same.
    levels : Levels
        Shares and correlations; numbers or scalar expressions.
    cells : mapping of str to CellStatistics
        Readings of ``"LRS"`` and ``"HRS"``; may be empty. Exact statistics: the cost does not
        depend on the number of cycles.
    mean, sd : mapping of str to float vector, shape (condition,)
        For each state the location and the standard deviation of ln R.
    device_array : int vector, shape (device,)
        Array of each device.
    arrays : int
        Number of arrays.

    Notes
    -----
    Within a cell of n readings with AR(1) correlation matrix S (Hamilton 1994, section 5.2)

        1' S^-1 1 = (n - (n - 2) phi) / (1 + phi)
        1' S^-1 r = ((1 - phi) sum r + phi (r_1 + r_n)) / (1 + phi)
        r' S^-1 r = ((1 + phi^2) sum r^2 - phi^2 (r_1^2 + r_n^2) - 2 phi sum r_t r_t+1)
                    / (1 - phi^2)
        ln |S| = (n - 1) ln(1 - phi^2).

    The effects of a device (LRS, HRS) then have a Gaussian integrand against a normal law, and
    what that leaves for the effects of its array has the same form.
    """
    own, effects = _of_devices(xp, levels, cells, mean, sd, device_array)
    total = own["LRS"].sum() + own["HRS"].sum() + effects.constant.sum()
    if not levels.has_arrays:
        return total
    of_array = xp.zeros(arrays)
    sums = [_total(xp, device_array, v, of_array) for v in _parts(effects)]
    return total + _above(xp, levels, sums).sum()


def ln_left_out(
    levels: Levels,
    cells_lrs: DeviceCells,
    cells_hrs: DeviceCells,
    mean: Mapping[str, FloatArray],
    sd: Mapping[str, FloatArray],
    device_array: IntArray,
) -> FloatArray:
    """Log density of all readings of a device given those of all others.

    Parameters
    ----------
    levels, mean, sd, device_array
        As for :func:`ln_density`, numbers only.
    cells_lrs, cells_hrs : DeviceCells
        Readings of each state; may be empty.

    Returns
    -------
    float array, shape (device,)
        Their sum is the log likelihood when there are no array effects. Zero for a device without
        readings.

    Raises
    ------
    ValueError
        A cell names a device or a condition beyond the end of `device_array`, `mean` or `sd`.

    Notes
    -----
    Devices of an array are dependent, so this is the density that leave-one-device-out
    cross-validation needs (Buerkner, Gabry and Vehtari 2021, section 2): the integral over the
    effects of an array with the device, over that without it.
    """
    cells = {"LRS": cells_lrs, "HRS": cells_hrs}
    _check(cells, mean, sd, device_array)
    statistics = {s: CellStatistics.of(c) for s, c in cells.items()}
    own, effects = _of_devices(np, levels, statistics, mean, sd, device_array)
    like = np.zeros(len(device_array))
    found = effects.constant + sum(
        _total(np, of.device, own[state], like) for state, of in statistics.items()
    )
    if levels.has_arrays:
        parts = _parts(effects)
        arrays = np.zeros(_arrays(device_array))
        sums = [_total(np, device_array, v, arrays)[device_array] for v in parts]
        without = [total - part for total, part in zip(sums, parts, strict=True)]
        found = found + _above(np, levels, sums) - _above(np, levels, without)
    return np.asarray(found)


def _of_devices(
    xp: Any,
    levels: Levels,
    cells: Mapping[str, CellStatistics],
    mean: Mapping[str, Any],
    sd: Mapping[str, Any],
    device_array: Any,
) -> tuple[dict[str, Any], _Effects]:
    """Log density of each cell's readings without lasting effects, and with them integrated.

    Notes
    -----
    About the cell's mean the deviations sum to zero, so with ``x`` the cell's mean less the model's

        1' S^-1 1 = w,  1' S^-1 r = w x + b (r_1 + r_n),  r' S^-1 r = z + 2 x b (r_1 + r_n) + w x^2.
    """
    share_lrs, share_hrs = levels.device_share_lrs, levels.device_share_hrs
    # A state whose share is not told apart has none, and the square root of zero no slope.
    covariance = 0.0
    if levels.correlates_states:
        covariance = levels.state_correlation * xp.sqrt(share_lrs * share_hrs)
    share_lrs, covariance, share_hrs = _spread(xp, (share_lrs, covariance, share_hrs), device_array)
    if xp is np:
        like = np.zeros(len(device_array))
    else:
        like = next(v for v in (share_lrs, share_hrs) if not isinstance(v, float))
    own, precision, linear = {}, {}, {}
    for state in STATES:
        of = cells[state]
        phi, per_sum, per_square, ln_rest, per_new, ln_new = _spread(
            xp, _of_cycles(xp, levels, state), of.device
        )
        per_scale = _taken(xp, 1.0 / sd[state], of.condition)
        ln_scale = _taken(xp, xp.log(sd[state]), of.condition) + ln_new
        x = (of.mean - _taken(xp, mean[state], of.condition)) * per_scale
        ends = phi * per_sum * of.ends * per_scale
        weight = (of.n - (of.n - 2.0) * phi) * per_sum
        z = of.squares + phi * (phi * (of.squares - of.ends_squares) - 2.0 * of.lags)
        quadratic = z * per_scale**2 * per_square + 2.0 * x * ends + weight * x * x
        own[state] = -0.5 * quadratic * per_new - of.n * ln_scale - 0.5 * (of.n - 1.0) * ln_rest
        precision[state] = _total(xp, of.device, weight * per_new, like)
        linear[state] = _total(xp, of.device, (weight * x + ends) * per_new, like)
    j, h = (precision["LRS"], 0.0, precision["HRS"]), (linear["LRS"], linear["HRS"])
    return own, _integrate(xp, j, h, (share_lrs, covariance, share_hrs))


def _of_cycles(xp: Any, levels: Levels, state: str) -> tuple[Any, ...]:
    """Six numbers about the part of a reading that is new in each cycle of a state.

    phi, ``1 / (1 + phi)``, ``1 / (1 - phi^2)``, ``ln(1 - phi^2)``, one over its share of the
    variance, and the constant of its density.
    """
    s = state.lower()
    phi = getattr(levels, f"cycle_correlation_{s}")
    new = 1.0 - getattr(levels, f"device_share_{s}") - getattr(levels, f"array_share_{s}")
    rest = 1.0 - phi**2
    ln_new = 0.5 * xp.log(new) + 0.5 * math.log(2 * math.pi)
    return phi, 1.0 / (1.0 + phi), 1.0 / rest, xp.log(rest), 1.0 / new, ln_new


def _spread(xp: Any, numbers: tuple[Any, ...], like: Any) -> tuple[Any, ...]:
    """Numbers as vectors, which PyTensor joins to one loop; numpy broadcasts them by itself."""
    if xp is np:
        return numbers
    from devicefit.likelihood.at_places import everywhere

    variables = {str(i): v for i, v in enumerate(numbers) if isinstance(v, xp.TensorVariable)}
    vectors = everywhere(variables, like)
    return tuple(vectors.get(str(i), v) for i, v in enumerate(numbers))


def _integrate(
    xp: Any, precision: Sequence[Any], linear: Sequence[Any], covariance: Sequence[Any]
) -> _Effects:
    """Integrate ``exp(h' x - x' J x / 2)`` over ``x ~ N(y, Sigma)``, both of two states.

    J = ((a, b), (b, c)), h = (p, q), Sigma = ((s, t), (t, u)). With ``T = I + J Sigma`` and
    ``P = Sigma T^-1`` the result is ``exp(constant + g' y - y' K y / 2)``,

        constant = -ln|T| / 2 + h' P h / 2,   K = T^-1 J,   g = T^-1 h.

    `precision` is (a, b, c), `linear` is (p, q), `covariance` is (s, t, u). Nothing is divided by a
    variance or a precision, so both may be zero.
    """
    (a, b, c), (p, q), (s, t, u) = precision, linear, covariance
    det_j = a * c - b * b
    det_sigma = s * u - t * t
    det = 1.0 + a * s + c * u + 2.0 * b * t + det_j * det_sigma
    p_ll = (s + det_sigma * c) / det
    p_lh = (t - det_sigma * b) / det
    p_hh = (u + det_sigma * a) / det
    return _Effects(
        -0.5 * xp.log(det) + 0.5 * (p_ll * p * p + 2.0 * p_lh * p * q + p_hh * q * q),
        (a + det_j * u) / det,
        (b - det_j * t) / det,
        (c + det_j * s) / det,
        ((1.0 + b * t + c * u) * p - (a * t + b * u) * q) / det,
        ((1.0 + a * s + b * t) * q - (b * s + c * t) * p) / det,
    )


def _above(xp: Any, levels: Levels, sums: list[Any]) -> Any:
    """Ln of the integral over the effects of arrays, from sums over their devices."""
    shares = levels.array_share_lrs, 0.0, levels.array_share_hrs
    return _integrate(xp, sums[:3], sums[3:], shares).constant


def _parts(effects: _Effects) -> tuple[Any, ...]:
    return effects.k_ll, effects.k_lh, effects.k_hh, effects.g_l, effects.g_h


def _total(xp: Any, index: Any, values: Any, like: Any) -> Any:
    """Sum of the values of each index."""
    if xp is np:
        return np.bincount(index, values, minlength=len(like))
    from devicefit.likelihood.at_places import group_sums

    return group_sums(values, index, like)


def _taken(xp: Any, values: Any, index: Any) -> Any:
    if xp is np:
        return values[index]
    from devicefit.likelihood.at_places import taken

    return taken(values, index)


def _arrays(device_array: IntArray) -> int:
    return int(np.max(device_array, initial=-1)) + 1


def _check(
    cells: Mapping[str, DeviceCells],
    mean: Mapping[str, FloatArray],
    sd: Mapping[str, FloatArray],
    device_array: IntArray,
) -> None:
    """Refuse cells beyond the ends of what they point into."""
    lengths = [("device", "device_array", len(device_array))]
    for name, law in (("mean", mean), ("sd", sd)):
        lengths.append(("condition", name, min(len(law[state]) for state in STATES)))
    for field, name, length in lengths:
        last = max(int(getattr(c, field).max(initial=-1)) for c in cells.values())
        if last >= length:
            raise ValueError(
                f"a cell has {field} {last}, but {name} has {length} entries; give one for each"
            )
