"""Results in the repository are of the present models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analyses import fingerprints
from analyses.fingerprints import DEPENDS, PARTS, ledger, out_of_date
from devicefit.families.registry import FAMILIES
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.prior import Prior


def test_no_result_is_older_than_the_models_it_depends_on() -> None:
    assert out_of_date(ledger()) == []


def test_a_prior_that_moved_makes_results_of_device_models_out_of_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = PARTS["device models"]()
    family = FAMILIES["lognormal"]
    priors = family.priors

    def moved(frame: object) -> tuple[Prior, ...]:
        first, *others = priors(frame)  # type: ignore[arg-type]
        return (Prior(first.name, first.mean + 0.01, first.sd, "", "", first.size), *others)

    monkeypatch.setattr(
        fingerprints, "FAMILIES", {**FAMILIES, "lognormal": replace(family, priors=moved)}
    )
    assert PARTS["device models"]() != before


def test_rounding_between_machines_is_not_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PARTS["accuracy surface"]()

    def rounded(values: FloatArray) -> list[float]:
        return [float(v) for v in np.ravel(values) * (1 + 1e-13)]

    monkeypatch.setattr(fingerprints, "_floats", rounded)
    assert PARTS["accuracy surface"]() == before


def test_what_is_gone_or_not_named_is_said() -> None:
    known = ledger()
    assert out_of_date({**known, "made_up": {}}) == [
        "made_up: made_with.json names it, but it is gone"
    ]
    first = sorted(known)[0]
    left = {name: parts for name, parts in known.items() if name != first}
    assert out_of_date(left) == [f"{first}: made_with.json does not say what it was made with"]


def test_each_result_with_a_part_names_one_that_exists() -> None:
    assert {part for parts in DEPENDS.values() for part in parts} <= set(PARTS)
