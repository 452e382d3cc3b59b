"""Which source the variance of a saving at the limit comes from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from devicefit.programming import FloatArray, IntArray
from reliability.ber_table import BerTable
from reliability.limit_case import LimitCase


def limit_shares(case: LimitCase, *, with_test_set: bool) -> dict[str, float]:
    """First-order shares of the sources in the variance of ln saving.

    Parameters
    ----------
    case : LimitCase
        Design and reference.
    with_test_set : bool
        Whether the test set is a source.

    Returns
    -------
    dict of str to float
        By source; ``together`` is what they do together. Empty where nothing varies.

    Notes
    -----
    The covariance of two savings that have one source in common and draws of their own of the
    others (Sobol 1993), about 0.02 uncertain for 2,000 draws.
    """
    n, draw, main = case.draws, case.c.pairing.device, case.device.main
    rng = np.random.default_rng([case.seed, 27])
    of_device, of_curve = rng.permutation(n), rng.permutation(n)
    first = case.ln_energy_of(main, draw, case.c.grid, 28)
    same = case.ln_energy_of(main, draw[of_device], case.c.grid, 28)
    new = case.ln_energy_of(main, draw, case.c.grid, 29)
    own = case.tables
    # What unequal rates take off a limit is the device's; minus infinity stays as it is.
    taken = [
        np.where(np.isfinite(equal), limit - np.where(np.isfinite(equal), equal, 0.0), 0.0)
        for limit, equal in zip(
            (case.limits.design, case.limits.reference), case.equal, strict=True
        )
    ]
    others = [BerTable(np.ascontiguousarray(t.ln_ber[:, of_device]), None) for t in own]

    def value(
        tables: tuple[BerTable, BerTable], curve: IntArray, images: IntArray, ln_energy: FloatArray
    ) -> FloatArray:
        of = rows if tables is own else of_device
        design, reference = (e[curve] + t[of] for e, t in zip(case.equal, taken, strict=True))
        limits = replace(case.limits, design=design, reference=reference, ln_energy=ln_energy)
        effects = case.test_set[0][images], case.test_set[1][images]
        return case.saving(limits, tables=tables, effects=effects).value

    rows, of_images = np.arange(n), rng.permutation(n)
    base = value(own, rows, rows, first)
    variance = base.var()
    if variance == 0:
        return {}
    moved = others[0], others[1]
    fresh = np.ascontiguousarray(new[of_device])
    partners = {
        "device": value(own, of_curve, of_images, new),
        "chips simulated": value(moved, rows, of_images, fresh),
        "energy inputs": value(moved, of_curve, of_images, same),
    }
    if with_test_set:
        partners["test set"] = value(moved, of_curve, rows, fresh)
    shares = {
        name: float(np.clip(np.cov(base, partner)[0, 1] / variance, 0.0, 1.0))
        for name, partner in partners.items()
    }
    return {**shares, "together": float(max(0.0, 1 - sum(shares.values())))}
