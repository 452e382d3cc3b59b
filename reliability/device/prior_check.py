"""What priors say before the first reading, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.numerics.arrays import FloatArray
from devicefit.priors.files import Entry, PriorFile, apply, without_missing
from devicefit.priors.predictive import PriorPrediction, prior_prediction
from devicefit.priors.statements import Statement
from devicefit.sampling.prior import Prior

DRAWS = 2000
"""Devices drawn from a prior."""

_NINETY = 1.6448536269514722  # 95 % quantile of a standard normal


@dataclass(frozen=True)
class StatedPriors:
    """Priors of one family over a measured range, with what a file says.

    Parameters
    ----------
    family : str
        Key of :data:`devicefit.families.registry.FAMILIES`.
    frame : Frame
        Measured range.
    priors : tuple of Prior
        The family's own, or those of the file in their place.
    statements : tuple of Statement
        What the file says of quantities at a programming value.
    unused : tuple of Entry
        What the file says of parameters that only other families have.
    """

    family: str
    frame: Frame
    priors: tuple[Prior, ...]
    statements: tuple[Statement, ...] = ()
    unused: tuple[Entry, ...] = ()

    @property
    def values(self) -> FloatArray:
        """Ends and middle of the measured range, SI; one value where there is only one."""
        frame = self.frame
        if frame.is_single:
            return np.array([frame.low])
        return frame.programming.grid(frame.low, frame.high, 3)

    def predict(self, sensing: SensingOptions, *, rng: np.random.Generator) -> PriorPrediction:
        """Prior predictive check at :attr:`values`.

        Raises
        ------
        ValueError
            Priors and statements hardly agree.
        """
        return prior_prediction(
            self.family,
            self.frame,
            self.priors,
            self.statements,
            self.values,
            options=sensing,
            draws=DRAWS,
            rng=rng,
        )

    def lines(self) -> list[str]:
        """Priors, statements and what was not used, as lines of plain text."""
        frame = self.frame
        over = frame.programming.name
        if not frame.is_single:
            ends = (frame.programming.format(value) for value in (frame.low, frame.high))
            over += f" from {' to '.join(ends)}"
        rows = [
            (
                f"{p.name} (vector of {p.size})" if p.size else p.name,
                f"{p.mean:.3g}",
                f"{p.sd:.3g}",
                p.meaning,
                p.source,
            )
            for p in self.priors
        ]
        found = [
            f"priors of the {self.family} family over {over}; normal, each parameter on its own "
            "scale",
            *_columns([("name", "mean", "sd", "meaning", "source"), *rows]),
        ]
        for s in self.statements:
            low, median, high = np.exp(s.mean + s.sd * np.array([-_NINETY, 0.0, _NINETY]))
            found.append(
                f"stated: {s.quantity} at {frame.programming.format(s.at)} is {median:.3g}, "
                f"90 % {low:.3g} to {high:.3g} ({s.source})"
            )
        found += [
            f"not used: [{entry.name}], the {self.family} family has no such parameter"
            for entry in self.unused
        ]
        return found


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, the second and third column to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if i in (1, 2) else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def stated_priors(
    frame: Frame,
    prior_file: PriorFile | None,
    *,
    families: Sequence[str],
    others: Sequence[str] = (),
) -> tuple[StatedPriors, ...]:
    """Put what a file says in the place of the families' own priors.

    Parameters
    ----------
    frame : Frame
        Measured range.
    prior_file : PriorFile or None
        What the user knows; None for the families' own priors.
    families : sequence of str
        Keys of :data:`devicefit.families.registry.FAMILIES`, at least one.
    others : sequence of str, optional
        Further families that the file may be about.

    Returns
    -------
    tuple of StatedPriors
        One for each of `families`.

    Raises
    ------
    PriorFileError
        An entry is about a parameter that none of `families` and `others` has, or ``at`` has
        another unit than the programming variable.
    """
    own = {family: FAMILIES[family].priors(frame) for family in families}
    if prior_file is None:
        return tuple(StatedPriors(family, frame, priors) for family, priors in own.items())
    known = {p.name for priors in own.values() for p in priors}
    known |= {p.name for family in others for p in FAMILIES[family].priors(frame)}
    for entry in prior_file.entries:
        if entry.parameter not in {None, *known}:
            # Refuses, with the parameters that there are.
            alone = replace(prior_file, entries=(entry,))
            apply(alone, own[families[0]], programming=frame.programming)
    found = []
    for family, priors in own.items():
        kept, unused = without_missing(prior_file, priors)
        changed, statements = apply(kept, priors, programming=frame.programming)
        found.append(StatedPriors(family, frame, changed, statements, unused))
    return tuple(found)


def flag_lines(stated: Sequence[StatedPriors], sensing: SensingOptions, *, seed: int) -> list[str]:
    """What the prior predictive check of each family warns of, a line each.

    A prediction that cannot be had, because priors and statements hardly agree, is a warning too.
    """
    lines = []
    for priors in stated:
        try:
            flags = priors.predict(sensing, rng=np.random.default_rng(seed)).flags
        except ValueError as error:
            flags = (f"the prior cannot be predicted: {error}",)
        lines += [f"check: {flag} (family {priors.family})" for flag in flags]
    return lines
