"""Ranks of true values among posterior draws, and whether they are uniform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import chi2

from devicefit.numerics.arrays import FloatArray, IntArray

RANKS = 49
"""Draws among which the truth is ranked: 50 possible ranks, few enough for draws thinned to
near independence."""


def rank_of(truth: float, draws: FloatArray, *, rng: np.random.Generator, of: int = RANKS) -> int:
    """Rank of the truth among `of` evenly spaced draws, 0 to `of`.

    Parameters
    ----------
    truth : float
        True value.
    draws : float array, shape (draw,)
        At least `of` posterior draws. Thinning makes them nearly independent.
    rng : numpy.random.Generator
        Gives the truth a place among draws that equal it.
    of : int, optional
        Draws to keep.

    Raises
    ------
    ValueError
        Too few draws, or a value that is not a number.
    """
    if len(draws) < of:
        raise ValueError(f"{len(draws)} draws, the rank needs {of}; draw more")
    if np.isnan(truth) or np.isnan(draws).any():
        raise ValueError("the truth or a draw is not a number; it has no rank")
    kept = draws[((np.arange(of) + 0.5) * len(draws) / of).astype(np.int64)]
    return int((kept < truth).sum() + rng.integers((kept == truth).sum() + 1))


@dataclass(frozen=True)
class RankStudy:
    """Ranks and intervals over many simulated data sets.

    Parameters
    ----------
    names : tuple of str
        The quantities.
    ranks : int array, shape (data set, quantity)
        Ranks of the truth, 0 to `of`.
    inside : bool array, shape (data set, quantity)
        Whether an interval of `probability` holds the truth.
    of : int
        Draws among which the truth was ranked.
    probability : float
        Of the intervals.
    """

    names: tuple[str, ...]
    ranks: IntArray
    inside: np.ndarray
    of: int
    probability: float

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]]) -> RankStudy:
        """Collect what the records of recoveries give, in any order.

        Raises
        ------
        ValueError
            No record, or records of different quantities, ranks or intervals.
        """
        if not records:
            raise ValueError("there are no data sets; simulate some")
        rows = sorted(records, key=lambda row: row["number"])
        names, of, p = tuple(rows[0]["ranks"]), rows[0]["of"], rows[0]["probability"]
        for row in rows:
            if (set(row["ranks"]), row["of"], row["probability"]) != (set(names), of, p):
                raise ValueError(
                    f"data set {row['number']} has other quantities, ranks or intervals than "
                    f"{rows[0]['number']}; do not mix studies"
                )
        return cls(
            names,
            np.array([[row["ranks"][n] for n in names] for row in rows]),
            np.array([[row["inside"][n] for n in names] for row in rows]),
            of,
            p,
        )

    @property
    def p_values(self) -> FloatArray:
        """P value of the chi-square test of uniform ranks, shape (quantity,).

        Cells of equal probability, at most 20, with at least 5 data sets expected in each.
        """
        sets = len(self.ranks)
        # Cells of equal size exist for divisors of the number of ranks only.
        possible = [c for c in range(2, 21) if (self.of + 1) % c == 0 and sets / c >= 5]
        if not possible:
            raise ValueError(f"{sets} data sets are too few for a chi-square test; use 10 or more")
        cells = max(possible)
        cell = self.ranks * cells // (self.of + 1)
        counts = np.stack([(cell == c).sum(axis=0) for c in range(cells)])
        expected = sets / cells
        return np.asarray(chi2.sf(((counts - expected) ** 2 / expected).sum(axis=0), cells - 1))

    @property
    def corrected_p(self) -> float:
        """Smallest of `p_values` times the number of quantities (Bonferroni), at most 1."""
        return float(min(1.0, self.p_values.min() * len(self.names)))

    @property
    def spread_p_values(self) -> FloatArray:
        """P value of a two-sided test of the spread of the ranks, shape (quantity,).

        Ranks as normal scores; their sum of squares is chi-square distributed (Cook, Gelman and
        Rubin 2006, J. Comput. Graph. Stat. 15). Finds posteriors that are too sure, or not sure
        enough, with few data sets.
        """
        score = ndtri((self.ranks + 0.5) / (self.of + 1))
        total = (score**2).sum(axis=0)
        sets = len(self.ranks)
        return np.asarray(2 * np.minimum(chi2.sf(total, sets), chi2.cdf(total, sets)))

    @property
    def coverage(self) -> FloatArray:
        """Share of the intervals that hold the truth, shape (quantity,)."""
        return np.asarray(self.inside.mean(axis=0))

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "data_sets": len(self.ranks),
            "corrected_p": self.corrected_p,
            "corrected_spread_p": float(min(1.0, self.spread_p_values.min() * len(self.names))),
            "probability": self.probability,
            "quantities": {
                name: {"p": float(p), "spread_p": float(q), "coverage": float(c)}
                for name, p, q, c in zip(
                    self.names, self.p_values, self.spread_p_values, self.coverage, strict=True
                )
            },
        }
