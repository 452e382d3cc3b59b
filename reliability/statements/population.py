"""The same question for the population of images that the test set came from."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from devicefit.numerics.arrays import FloatArray
from reliability.accuracy.counted_points import KINDS
from reliability.accuracy.surface import mean_share
from reliability.chips.chip_yield import share_within
from reliability.decision.comparison import Comparison, Design, at_condition
from reliability.decision.limits import Condition
from reliability.decision.references import with_conditions
from reliability.plans.seen_rates import SeenRates


def population_shift(comparison: Comparison, design: Design) -> FloatArray:
    """Loss in the population that is the limit on this test set, less the limit, (pair,).

    Notes
    -----
    The loss is a mean over images of (lost - gained). Its standard deviation over test sets is that
    of the mean chip at the weakest programming that suffices; the score of a pair is the same for
    all networks, which see the same images.
    """
    c, surface = comparison, comparison.curves[design.network]
    limit, at = c.limits[design.network], c.pairing.curve
    seen = c.seen[design.storage].of(c.pairing.rates)
    here = SeenRates(
        *(at_condition(c, design, values)[:, None] for values in (seen.ln_ber, seen.tilt))
    )
    moved = sum(
        surface.pool(k) / surface.images * mean_share(surface, k, here, at)[:, 0] for k in KINDS
    )
    spread = np.sqrt(np.maximum(moved - limit**2, 0.0) / surface.images)
    return np.asarray(ndtri(c.pairing.test_set[:, 1]) * spread)


def for_population(comparison: Comparison, design: Design) -> Comparison:
    """The comparison of a design with its references, each pair with a population of its own.

    The standard network and the design alone; their yields stay those on the test set, and only the
    weakest programming that suffices is about the population.
    """
    c = comparison

    def condition(of: Design) -> Condition:
        limit = c.limits[of.network] + population_shift(c, of)
        return c.enough(share_within(c.curves[of.network], c.seen[of.storage], c.pairing, limit))

    return with_conditions(c, condition, design)
