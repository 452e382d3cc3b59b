"""The same question for the population of images that the test set came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from devicefit.programming import FloatArray
from reliability.accuracy_curve import mean_share
from reliability.chip_yield import share_within
from reliability.curve_density import KINDS
from reliability.decision.limits import enough_chips
from reliability.designs import Comparison, Design, both, loss_limits, references
from reliability.storage import PLAIN


def population_shift(comparison: Comparison, design: Design) -> FloatArray:
    """Loss in the population that is the limit on this test set, less the limit, (pair,).

    Notes
    -----
    The loss is a mean over images of (lost - gained). Its standard deviation over test sets is that
    of the mean chip at the weakest programming that suffices; the score of a pair is the same for
    all networks, which see the same images.
    """
    c, curve = comparison, comparison.curves[design.network]
    limit, at = loss_limits(c.curves, c.requirement)[design.network], c.pairing.curve
    u = c.programming.coordinate(c.grid)
    place = np.interp(c.programming.coordinate(design.condition.x), u, np.arange(len(u)))
    left = np.minimum(place.astype(np.int64), len(u) - 2)
    ln_ber = c.equivalent_ln_ber(design.network, design.storage)[c.pairing.device]
    below, above = (np.take_along_axis(ln_ber, (left + k)[:, None], 1) for k in (0, 1))
    here = below + (place - left)[:, None] * (above - below)
    moved = sum(curve.pool(k) / curve.images * mean_share(curve, k, here, at)[:, 0] for k in KINDS)
    spread = np.sqrt(np.maximum(moved - limit**2, 0.0) / curve.images)
    return np.asarray(ndtri(c.pairing.test_set[:, 1]) * spread)


def for_population(comparison: Comparison, design: Design) -> Comparison:
    """The comparison of a design with its references, each pair with a population of its own.

    The standard network and the design alone; their yields stay those on the test set, and only the
    weakest programming that suffices is about the population.
    """
    c = comparison
    limits = loss_limits(c.curves, c.requirement)

    def moved(of: Design) -> Design:
        ln_ber = c.equivalent_ln_ber(of.network, of.storage)
        limit = limits[of.network] + population_shift(c, of)
        share = share_within(c.curves[of.network], ln_ber, c.pairing, limit)
        enough = enough_chips(c.grid, share, 1 - c.requirement.risk, c.programming)
        return replace(of, condition=enough)

    designs = tuple(moved(d) for d in both(c, design))
    at = c.network_ln_ber(PLAIN)[c.pairing.device]
    found = references(designs[0], at, c.grid, c.requirement, c.programming)
    return replace(c, designs=designs, references=tuple(found))
