"""Tolerated BER of most chips, savings between two BER, and the tables of the abstract's page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

import bnn
from analyses import abstract_sentences, abstract_tables
from analyses.abstract_sentences import tolerated_by_share
from reliability.accuracy.surface import AccuracySurface
from tests.reliability.made_up import flat_in_tilt


@pytest.fixture
def curve() -> AccuracySurface:
    """Share lost equal to the BER in logit, two and a half times the binomial variance."""
    ln_ber = np.log(np.array([1e-4, 1e-3, 1e-2, 0.1, 0.3]))
    logit = np.log(np.exp(ln_ber) / (1 - np.exp(ln_ber)))
    draws = 4
    return flat_in_tilt(
        ln_ber,
        {"lost": np.tile(logit, (draws, 1)), "gained": np.full((draws, 5), -30.0)},
        {"lost": np.full((draws, 5), np.log(2.5)), "gained": np.zeros((draws, 5))},
        images=1000,
        correct=1000,
    )


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_so_many_chips_keep_the_loss_at_the_tolerated_ber(
    curve: AccuracySurface, share: float
) -> None:
    """Share of chips from SciPy's beta law at the BER that was found."""
    found = tolerated_by_share(curve, 0.02, share=share)
    mean = 1 / (1 + np.exp(-np.interp(found[0], curve.ln_rate, curve.logit_share["lost"][0, :, 0])))
    precision = 1000 / 2.5 - 1
    law = beta(mean * precision, (1 - mean) * precision)
    assert law.cdf(0.02) == pytest.approx(share, abs=0.01)
    np.testing.assert_allclose(found, found[0])


def test_no_limit_within_the_evaluated_range_gives_its_end(curve: AccuracySurface) -> None:
    assert np.exp(tolerated_by_share(curve, 0.9))[0] == pytest.approx(0.3, rel=1e-3)


def test_the_end_of_the_evaluated_range_is_a_lower_bound(curve: AccuracySurface) -> None:
    end = abstract_sentences.ber_record(tolerated_by_share(curve, 0.9), curve)
    assert abstract_tables.rate_words(end) == "at least 3.00e-1"
    inside = abstract_sentences.ber_record(tolerated_by_share(curve, 0.02), curve)
    assert "at least" not in abstract_tables.rate_words(inside)


def test_what_lies_below_the_evaluated_range_is_an_upper_bound(curve: AccuracySurface) -> None:
    lowest = curve.ln_rate[0]
    some = abstract_sentences.ber_record(np.linspace(lowest - 3.0, lowest + 1.0, 101), curve)
    words = abstract_tables.rate_words(some)
    first = abstract_tables.short(float(np.exp(lowest)))
    assert words.startswith(f"below {first} (below {first} to ")
    assert not some["high_is_upper_bound"]
    every = abstract_sentences.ber_record(np.full(5, lowest - 3.0), curve)
    assert abstract_tables.rate_words(every) == f"below {first}"


def _record(absent: list[str]) -> dict[str, Any]:
    one = {
        "median": 0.03,
        "low": 0.02,
        "high": 0.04,
        "median_is_lower_bound": False,
        "low_is_lower_bound": False,
        "high_is_lower_bound": False,
        "median_is_upper_bound": False,
        "low_is_upper_bound": False,
        "high_is_upper_bound": False,
        "kind": "ETI",
        "probability": 0.9,
    }
    both = {"mean_chip": one, "share_of_chips": {**one, "share": 0.95}}
    losses = (0.001, 0.01)
    network = {
        "error_free": 0.98,
        "tolerated": {f"{d:g}": both for d in losses},
        "loss_at_the_papers_ber": {"standard": one, "trained for errors": one},
    }
    saving = {"sentence": "2 times (90 % ETI 1 to at least 3)"}
    keys = ("standard network", "memory", "memory with ECC")
    return {
        "losses": losses,
        "paper": {"standard": 1e-4, "trained for errors": 4e-2},
        "absent": absent,
        "tolerance": [
            {"image_set": "mnist", "exposure": e, "networks": {"mnist-standard": network}}
            for e in abstract_tables.EXPOSED
        ],
        "savings": {
            "simulated": {
                "the_papers_rates": {k: saving for k in ("a", "b", "c")},
                "networks": [
                    {
                        "image_set": "mnist",
                        "exposure": e,
                        "by_loss": {
                            f"{d:g}": {"mnist-standard": {k: saving for k in keys}} for d in losses
                        },
                    }
                    for e in abstract_tables.EXPOSED
                ],
            }
        },
    }


def test_tables_go_between_their_marks_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "abstract.md"
    page.write_text(abstract_sentences.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    abstract_tables.write_tables(_record(["network cifar-standard"]), page)
    first = page.read_text(encoding="utf-8")
    assert "| mnist-standard | all but the ends | 98.00 % | 3.00e-2 (2.00e-2 to 4.00e-2)" in first
    assert "Not there when the tables were made: network cifar-standard." in first
    abstract_tables.write_tables(_record(["network cifar-standard"]), page)
    assert page.read_text(encoding="utf-8") == first
    abstract_tables.write_tables(_record([]), page)
    assert "cifar-standard" not in page.read_text(encoding="utf-8").split("<!-- absent -->")[1]


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "abstract.md"
    page.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the marks '<!-- tolerated -->'"):
        abstract_tables.write_tables(_record([]), page)
    assert page.read_text(encoding="utf-8") == "nothing here\n"


def test_networks_that_are_not_in_the_zoo_are_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tuple(n for n in bnn.zoo_networks() if not n.name.startswith("cifar"))
    monkeypatch.setattr(bnn, "zoo_networks", lambda: kept)
    monkeypatch.setattr(abstract_sentences, "_devices", lambda data: ({}, ["no device"]))
    record = abstract_sentences.measure(None, None, tmp_path, ["cifar-10"])
    assert record["tolerance"] == []
    assert "network cifar-standard" in record["absent"]
    assert any("without its standard network nothing is counted" in a for a in record["absent"])
    json.dumps(record)
