"""Where the variance of a chip's accuracy comes from."""

from __future__ import annotations

import numpy as np

from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit
from reliability.accuracy.chip_law import count_variance, segment, share_at, value_at
from reliability.accuracy.counted_points import KINDS
from reliability.accuracy.surface import AccuracySurface
from reliability.plans.seen_rates import SeenRates

CROSSED = 100
"""Draws of the device that are crossed with those of the curve."""

_CURVES, _TRAININGS = 40, 12


def variance_shares(
    surface: AccuracySurface,
    seen: SeenRates,
    device: IntArray,
    of_surface: IntArray,
    *,
    family: IntArray | None = None,
    size: int = CROSSED,
) -> dict[str, FloatArray]:
    """Share of each source in the variance of a chip's accuracy in the population.

    Parameters
    ----------
    surface : AccuracySurface
        Network.
    seen : SeenRates
        Error rates that it sees, shape (device draw, x).
    device, of_surface : int array
        Draws of device and surface that are in use.
    family : int array, shape (device draw,), optional
        Model family of each draw of the device.
    size : int, optional
        Draws of the device that are crossed; a fourth to a half as many of the surface.

    Returns
    -------
    dict of str to float array, shape (x,)
        ``family`` (which model, where there are several), ``device`` (posterior of the device
        within a family), ``training`` (trainings differ, where there are several), ``curve``
        (finite number of simulated chips), ``chip`` (chips differ), ``test set`` (finite test
        set), ``interaction`` (the first four together). They sum to one where there is any
        variance, and are zero where there is none.

    Notes
    -----
    Analysis of variance of a balanced table: means over chips, for draws of the device crossed
    with draws of the surface's centre and with deviations of a further training. Main effects are
    variances of the margins; families split that of the device between and within. To these come
    the mean variance over chips and the mean binomial variance of the test set. No random numbers
    are drawn. Crossing ignores that a wide law of trainings goes with an uncertain centre.
    """
    d = _spread(np.unique(device), size, family)
    logit, dispersion, shift, shape = _crossed(surface, np.unique(of_surface))
    sums = _table(
        surface.ln_rate,
        surface.tilt,
        logit,
        dispersion,
        surface.pools,
        float(surface.images),
        surface.error_free,
        shift,
        np.ascontiguousarray(seen.ln_ber[d]),
        np.ascontiguousarray(seen.tilt[d]),
    )
    by_device, by_curve, mean, square, chip, test_set = sums
    of_device = by_device.var(axis=0)
    parts = {"family": np.zeros(len(mean)), "device": of_device}
    if family is not None:
        parts["family"] = _between(by_device, family[d])
        parts["device"] = np.maximum(of_device - parts["family"], 0.0)
    table = by_curve.reshape(*shape, -1)
    parts["training"] = table.mean(axis=0).var(axis=0)
    parts["curve"] = table.mean(axis=1).var(axis=0)
    parts["chip"], parts["test set"] = chip, test_set
    crossed = np.maximum(square - mean**2, 0.0)
    rest = crossed - of_device - parts["training"] - parts["curve"]
    # What rounding leaves of a difference of equal numbers is no interaction.
    parts["interaction"] = np.where(rest > 1e-9 * crossed, rest, 0.0)
    total = np.asarray(sum(parts.values()))
    if family is None:
        del parts["family"]
    if surface.further is None:
        del parts["training"]
    return {name: value / np.maximum(total, 1e-300) for name, value in parts.items()}


def not_in_the_shares(shares: dict[str, FloatArray]) -> str:
    """Sources that the shares do not hold because there was one of each, in words."""
    words = {"family": "model family", "training": "training seed"}
    missing = [word for name, word in words.items() if name not in shares]
    return f"{' and '.join(missing)} (one of each)" if missing else ""


def _spread(draws: IntArray, size: int, family: IntArray | None) -> IntArray:
    """Up to `size` of the draws, evenly over chains and in proportion over families."""
    if family is not None:
        draws = draws[np.argsort(family[draws], kind="stable")]
    take = np.linspace(0, len(draws) - 1, min(size, len(draws))).round().astype(np.int64)
    return np.asarray(draws[take])


def _between(by_device: FloatArray, family: IntArray) -> FloatArray:
    found = np.zeros(by_device.shape[1])
    for label in np.unique(family):
        of = by_device[family == label]
        found += len(of) / len(by_device) * (of.mean(axis=0) - by_device.mean(axis=0)) ** 2
    return found


def _crossed(
    surface: AccuracySurface, draws: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, tuple[int, int]]:
    """Logits, dispersions and error-free deviations; centres times deviations of trainings."""
    logit, dispersion = surface.stacked("logit_share"), surface.stacked("ln_dispersion")
    if surface.further is None:
        c = _spread(draws, _CURVES, None)
        return (
            np.ascontiguousarray(logit[:, c]),
            np.ascontiguousarray(dispersion[:, c]),
            np.zeros(len(c)),
            (len(c), 1),
        )
    i = _spread(draws, _TRAININGS, None)
    # Another order, so that a centre does not meet its own deviation more often than others.
    j = _spread(np.roll(draws, len(draws) // 3), _TRAININGS, None)
    own = np.stack([surface.further.deviation[kind] for kind in KINDS])
    centre = logit - own
    both = centre[:, i, None] + own[:, None, j]
    knots = logit.shape[-2:]
    return (
        np.ascontiguousarray(both.reshape(2, -1, *knots)),
        np.ascontiguousarray(np.repeat(dispersion[:, i], len(j), axis=1)),
        np.tile(surface.further.error_free[j], len(i)),
        (len(i), len(j)),
    )


@njit(error_model="numpy")
def _table(  # type: ignore[no-untyped-def]
    rates, tilts, logit, ln_dispersion, pools, images, error_free, shift, ln_ber, tilt
):
    """Margins of the table of mean accuracies, its mean square, and means of inner variances.

    Accuracies are relative to `error_free`, so that small variances are not lost to rounding.
    """
    curves, devices, values = logit.shape[1], ln_ber.shape[0], ln_ber.shape[1]
    by_device, by_curve = np.zeros((devices, values)), np.zeros((curves, values))
    mean, square = np.zeros(values), np.zeros(values)
    chip, test_set = np.zeros(values), np.zeros(values)
    cells = curves * devices
    for e in range(devices):
        for j in range(values):
            at = ln_ber[e, j]
            k, w = segment(rates, at)
            m, v = segment(tilts, tilt[e, j])
            for c in range(curves):
                accuracy, variance = shift[c], 0.0
                for kind in range(2):
                    pool = pools[kind]
                    share = share_at(logit[kind, c], k, w, m, v, at - rates[0])
                    d = value_at(ln_dispersion[kind, c], k, w, m, v)
                    variance += count_variance(share, d, pool)
                    accuracy += (2 * kind - 1) * pool * share / images
                by_device[e, j] += accuracy / curves
                by_curve[c, j] += accuracy / devices
                mean[j] += accuracy / cells
                square[j] += accuracy * accuracy / cells
                chip[j] += variance / cells / images**2
                accuracy += error_free
                test_set[j] += max(accuracy * (1.0 - accuracy), 0.0) / cells / images
    return by_device, by_curve, mean, square, chip, test_set
