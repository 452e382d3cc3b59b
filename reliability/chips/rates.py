"""Rates at which stored zeros and ones are misread, of every draw and array of a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devicefit.distributions.sensing import CELLS_PER_BIT, SensingOptions, ln_ber_2t2r
from devicefit.fitting.cells import cell_reader
from devicefit.fitting.fitted import Fitted
from devicefit.numerics.arrays import FloatArray
from reliability.plans.storage import Storage


@dataclass(frozen=True)
class ChipRates:
    """Rates at which stored bits are misread, before decoding.

    Parameters
    ----------
    programming : float array, shape (x,)
        Programming values, SI.
    values : float array, shape (draw, array, x, 2)
        Probability that a stored zero, and that a stored one, is misread; draws of the device with
        its chains one after the other, and its measured arrays or new ones.
    """

    programming: FloatArray
    values: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Posterior mean of the bit error rate, zeros and ones equally frequent, shape (x,)."""
        return np.asarray(self.values.mean(axis=(0, 1, 3)))


def chip_rates(
    device: Fitted,
    programming: Sequence[float],
    storage: Storage,
    *,
    sensing: SensingOptions,
    one_is: str = "LRS",
    new_arrays: int = 0,
) -> ChipRates:
    """Rates of every draw and array of a device.

    Parameters
    ----------
    device : Fitted
        Fitted family or stack.
    programming : sequence of float
        Programming values, SI.
    storage : Storage
        How cells are read.
    sensing : SensingOptions
        Threshold and offset. A threshold that is not given is chosen before a chip and its array
        are known, as for the BER curves. Both cells of a pair lie on the same array.
    one_is : {"LRS", "HRS"}, optional
        State that stores a one.
    new_arrays : int, optional
        So many new arrays, drawn for each draw of the device, in place of the measured ones.

    Raises
    ------
    ValueError
        As of :func:`devicefit.fitting.cells.cell_reader`.
    """
    measured = len(device.frame.arrays)
    arrays: list[int | None] = list(range(measured)) if measured > 1 else [None]
    on = device
    if new_arrays:
        on = device.with_new_arrays(new_arrays)
        arrays = list(range(measured, measured + new_arrays))
    per_x = []
    for x in programming:
        read = cell_reader(device, x, scheme=storage.scheme, options=sensing, one_is=one_is)
        fixed = sensing
        if read.threshold_ln_r is not None:
            fixed = SensingOptions(float(np.exp(read.threshold_ln_r)), sensing.offset_ln_r)
        per_array = []
        for array in arrays:
            reader = read
            if array is not None:
                reader = cell_reader(
                    on, x, scheme=storage.scheme, options=fixed, one_is=one_is, array=array
                )
            if CELLS_PER_BIT[storage.scheme] == 2:
                both = np.exp(ln_ber_2t2r(reader.lrs, reader.hrs, sensing.offset_ln_r))
                zero, one = both, both
            else:
                of_state = reader.error_probability
                one = of_state[one_is]
                zero = of_state["HRS" if one_is == "LRS" else "LRS"]
            per_array.append(np.stack([zero, one], axis=-1))
        per_x.append(np.stack(per_array, axis=1))
    return ChipRates(np.asarray(programming, dtype=np.float64), np.stack(per_x, axis=2))
