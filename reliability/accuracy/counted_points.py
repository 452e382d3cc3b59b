"""Counts of a network at pairs of error rates, as the arrays that a surface is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from devicefit.numerics.arrays import FloatArray, IntArray
from reliability.accuracy.chip_correlation import chip_correlation
from reliability.accuracy.surface_model import Pairs
from reliability.networks.study import NetworkStudy

KINDS = ("lost", "gained")

_MOST_KURTOSIS = 6.0


@dataclass(frozen=True)
class CountedPoints:
    """Counts of one training.

    Parameters
    ----------
    pairs : Pairs
        Where chips were counted.
    chips : int array, shape (point,)
        Chips at each.
    mean, variance : dict of str to float array, shape (point,)
        Images lost and gained, over chips.
    correlation : dict of str to float array, shape (point, point)
        Between counts of one chip.
    kurtosis : dict of str to float
        Excess kurtosis of counts over chips, the mean over points; not below zero.
    pools : dict of str to int
        Images that can be lost and gained.
    images, correct : int
        Test images, and right answers among them without errors.
    """

    pairs: Pairs
    chips: IntArray
    mean: dict[str, FloatArray]
    variance: dict[str, FloatArray]
    correlation: dict[str, FloatArray]
    kurtosis: dict[str, float]
    pools: dict[str, int]
    images: int
    correct: int


def counted_points(study: NetworkStudy) -> CountedPoints:
    """The counts of a network at equal rates, and at unequal ones where there are such.

    Raises
    ------
    ValueError
        The tables are of different networks, protected layers, or families of chips.
    """
    counts, unequal = study.counts, study.unequal
    ber = np.asarray(counts["ber"].values, dtype=np.float64)
    parts = [(counts.isel(ber=np.flatnonzero(ber > 0)), "ber")]
    rate, tilt, ones = ber[ber > 0], np.zeros(int((ber > 0).sum())), 0.5
    if unequal is not None:
        _check_alike(counts, unequal)
        parts.append((unequal, "case"))
        rate = np.concatenate([rate, unequal["ber"].values])
        tilt = np.concatenate([tilt, unequal["tilt"].values])
        ones = float(unequal.attrs["ones"])
    pairs = Pairs(np.log(rate), tilt, ones)
    images, correct = int(counts.attrs["images"]), int(counts.attrs["error_free_correct"])
    mean, variance, correlation, kurtosis = {}, {}, {}, {}
    for kind in KINDS:
        tables = [
            np.asarray(table[kind].transpose(dim, "chip").values, dtype=np.float64)
            for table, dim in parts
        ]
        mean[kind] = np.concatenate([t.mean(axis=1) for t in tables])
        variance[kind] = np.concatenate([t.var(axis=1, ddof=1) for t in tables])
        common = min(t.shape[1] for t in tables)
        correlation[kind] = chip_correlation(
            np.concatenate([t[:, :common] for t in tables]), pairs.rates, ones
        )
        kurtosis[kind] = _kurtosis(tables)
    return CountedPoints(
        pairs,
        np.concatenate([np.full(table.sizes[dim], table.sizes["chip"]) for table, dim in parts]),
        mean,
        variance,
        correlation,
        kurtosis,
        {"lost": correct, "gained": images - correct},
        images,
        correct,
    )


def _kurtosis(tables: list[FloatArray]) -> float:
    """Excess kurtosis over chips, where more than one image is lost (or gained)."""
    found = []
    for table in tables:
        away = table - table.mean(axis=1, keepdims=True)
        square = (away**2).mean(axis=1)
        use = (table.mean(axis=1) > 1) & (square > 0)
        found.append((away[use] ** 4).mean(axis=1) / square[use] ** 2 - 3.0)
    every = np.concatenate(found)
    return float(np.clip(every.mean(), 0.0, _MOST_KURTOSIS)) if len(every) else 0.0


def _check_alike(counts: xr.Dataset, unequal: xr.Dataset) -> None:
    for key in ("network_sha256", "protected", "seed"):
        mine, theirs = (str(of.attrs.get(key, "")) for of in (counts, unequal))
        if mine != theirs:
            raise ValueError(
                f"counts at equal and at unequal rates differ in {key}: {mine!r} and {theirs!r}; "
                "evaluate them together"
            )
