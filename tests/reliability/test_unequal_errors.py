"""Unequal rates of stored ones and zeros: their counts, the equal rate of the same harm, words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

import bnn
from devicefit.cells import CellReader
from devicefit.mixture import Mixture
from devicefit.programming import Programming
from devicefit.sensing import BerCurve, SensingOptions, ln_ber_1t1r, tilt_1t1r
from reliability.designs import (
    Comparison,
    compare_designs,
    limit_on_device,
    tolerated,
)
from reliability.direct_route import scrambling, wrong_positions
from reliability.energy import Energy
from reliability.equivalent_ber import Equivalent, fit_equivalent
from reliability.network_study import (
    BER_GRID,
    NetworkOptions,
    NetworkStudy,
    evaluate_network,
    load_counts,
    save_counts,
)
from reliability.propagation import pair_draws
from reliability.requirement import Requirement
from reliability.saving_shares import rearranged
from reliability.storage import PLAIN, Storage
from reliability.unequal_counts import UNEQUAL_RATES, stored_ones, tilted_flips, unequal_counts
from reliability.unequal_errors import (
    HARMLESS_TILT,
    StoredBits,
    UnequalErrors,
    unequal_gate,
    unequal_record,
)
from tests.reliability.test_alternatives import CURVES

CURRENT = Programming("SET current", "A")
X = np.geomspace(1e-5, 1e-3, 8)
DRAWS = CURVES["standard"].draws


@pytest.fixture(scope="module")
def digits() -> bnn.ImageSet:
    return bnn.load_images("digits")


@pytest.fixture(scope="module")
def study(digits: bnn.ImageSet) -> NetworkStudy:
    network, record = bnn.load_zoo("digits-4e-2")
    options = NetworkOptions(chips=60, unequal_chips=60, seed=11, threads=1)
    return evaluate_network(network, digits, options, record, tick=lambda done, total: None)


def test_flips_with_a_tilt_have_the_mean_rate() -> None:
    flips = tilted_flips(0.03, 0.4)
    assert (flips.zero_to_one, flips.one_to_zero) == pytest.approx((0.018, 0.042))
    only_ones = tilted_flips(0.03, 1.0)
    assert (only_ones.zero_to_one, only_ones.one_to_zero) == (0.0, 0.06)
    with pytest.raises(ValueError, match=r"tilt is 1\.2"):
        tilted_flips(0.03, 1.2)


def test_the_tilt_of_a_law_is_that_of_its_two_rates() -> None:
    """Two normal laws of ln R; SciPy's distribution functions."""
    one = np.zeros((1, 1, 1, 1))
    lrs = Mixture(one, one + 9.0, one + 0.5, ("normal",))
    hrs = Mixture(one, one + 11.0, one + 0.8, ("normal",))
    t = np.array([9.9])
    wrong = norm.sf(9.9, 9.0, 0.5), norm.cdf(9.9, 11.0, 0.8)
    found = tilt_1t1r(hrs, t, ln_ber_1t1r(lrs, hrs, t))
    assert found.item() == pytest.approx((wrong[0] - wrong[1]) / sum(wrong), rel=1e-9)


def test_counts_at_unequal_rates_are_those_of_such_chips(
    study: NetworkStudy, digits: bnn.ImageSet
) -> None:
    network, _ = bnn.load_zoo("digits-4e-2")
    assert study.unequal is not None
    case = study.unequal.isel(case=[4]).load()
    assert (case["ber"].item(), case["tilt"].item()) == (2e-2, -1.0)
    by_hand = bnn.evaluate_errors(
        network,
        digits.test_images,
        digits.test_labels,
        errors=[bnn.Errors((bnn.Flips(zero_to_one=0.04, one_to_zero=0.0),))],
        chips=3,
        seed=11,
        threads=1,
    )
    for name in ("correct", "lost", "gained", "flips"):
        np.testing.assert_array_equal(case[name].values[:, :3], by_hand[name].values)
    bits = np.concatenate([bnn.network.layer_signs(layer).ravel() for layer in network.layers])
    assert study.unequal.attrs["ones"] == (bits > 0).mean() == stored_ones(network)


def test_protected_layers_are_not_counted_among_the_ones() -> None:
    network, _ = bnn.load_zoo("digits-standard")
    last = network.layers[-1]
    bits = [bnn.network.layer_signs(layer).ravel() for layer in network.layers[:-1]]
    assert stored_ones(network, frozenset({last.name})) == (np.concatenate(bits) > 0).mean()


def test_a_file_keeps_them_and_older_files_have_none(study: NetworkStudy, tmp_path: Path) -> None:
    save_counts(study, tmp_path / "new.nc")
    save_counts(study, tmp_path / "again.nc")
    assert (tmp_path / "new.nc").read_bytes() == (tmp_path / "again.nc").read_bytes()
    found = load_counts(tmp_path / "new.nc")
    xr.testing.assert_equal(found.counts, study.counts)
    assert found.unequal is not None
    assert study.unequal is not None
    xr.testing.assert_equal(found.unequal, study.unequal)
    save_counts(replace(study, unequal=None), tmp_path / "old.nc")
    assert load_counts(tmp_path / "old.nc").unequal is None


def test_none_are_counted_where_none_are_asked_for(digits: bnn.ImageSet) -> None:
    network, record = bnn.load_zoo("digits-standard")
    options = NetworkOptions(chips=2, unequal_chips=0, threads=1)
    found = evaluate_network(network, digits, options, record, tick=lambda done, total: None)
    assert found.unequal is None
    with pytest.raises(ValueError, match="unequal_chips is 1"):
        NetworkOptions(unequal_chips=1)


def test_the_equivalent_rate_of_other_chips_does_the_same_harm(
    study: NetworkStudy, digits: bnn.ImageSet
) -> None:
    """New chips at tilts between the extremes, and at rates between those counted.

    Mean losses of 120 chips with unequal rates and with the equivalent equal rate agree within 4
    standard errors (z for 6 checks at 4e-4 in all) plus what the posterior does not know. The
    control, the mean rate, must fail where the harm is large.
    """
    network, _ = bnn.load_zoo("digits-4e-2")
    assert study.unequal is not None
    found = fit_equivalent(study.counts, study.unequal, draws=400, rng=np.random.default_rng(1))
    data = (network, digits.test_images, digits.test_labels)
    pairs = [(p, u) for p in (0.025, 0.04, 0.07) for u in (-0.6, 0.8)]
    unequal = bnn.evaluate_errors(
        *data,
        errors=[bnn.Errors((tilted_flips(p, u),)) for p, u in pairs],
        chips=120,
        seed=12,
        threads=1,
    )
    drawn = np.array(
        [found.ln_equivalent(np.full((400, 1), np.log(p)), np.full((400, 1), u)) for p, u in pairs]
    )[..., 0]
    mean, sd = drawn.mean(axis=1), drawn.std(axis=1)
    rates = np.exp([value for m, s in zip(mean, sd, strict=True) for value in (m - s, m, m + s)])
    asked = sorted({*rates, *(p for p, _ in pairs)})
    equal = bnn.evaluate(*data, ber=asked, chips=120, seed=12, threads=1)
    loss = [1 - counts["correct"].values / counts.attrs["images"] for counts in (unequal, equal)]
    at = {rate: loss[1][k] for k, rate in enumerate(asked)}
    control = []
    for k, (p, _) in enumerate(pairs):
        low, same, high = (at[rate] for rate in rates[3 * k : 3 * k + 3])
        unknown = (high.mean() - low.mean()) / 2
        error = np.hypot((loss[0][k] - same).std(ddof=1) / np.sqrt(120), unknown)
        assert abs(loss[0][k].mean() - same.mean()) < 4 * error, pairs[k]
        control.append(abs(loss[0][k].mean() - at[p].mean()) / error)
    assert max(control) > 8


def _made_up(ones: float = 0.5, seed: int = 3) -> tuple[xr.Dataset, xr.Dataset]:
    """Chips that lose as many images as a known law says: ln q = ln p + p (2 u + 10 u^2)."""
    rng = np.random.default_rng(seed)
    images, chips = 100_000, 40

    def counts(q: np.ndarray, dim: str) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
        lost = rng.binomial(images, np.minimum(0.9, 3 * q)[:, None], size=(len(q), chips))
        return {"lost": ((dim, "chip"), lost), "gained": ((dim, "chip"), 0 * lost)}

    attrs = {"images": images, "seed": 1, "network_sha256": "a", "protected": ""}
    ber = np.array(BER_GRID)
    p = np.repeat(UNEQUAL_RATES, 2)
    u = np.tile([-1.0, 1.0], len(UNEQUAL_RATES))
    q = p * (1 + (2 * ones - 1) * u) * np.exp(p * (2 * u + 10 * u**2))
    chip = np.arange(chips)
    return (
        xr.Dataset(counts(ber, "ber"), coords={"ber": ber, "chip": chip}, attrs=attrs),
        xr.Dataset(
            counts(q, "case"),
            coords={"ber": ("case", p), "tilt": ("case", u), "chip": chip},
            attrs={**attrs, "ones": ones},
        ),
    )


@pytest.mark.parametrize("ones", [0.5, 0.6])
def test_a_known_law_is_found(ones: float) -> None:
    """Within z = 4; where the prior alone speaks (little harm) the posterior is wide."""
    found = fit_equivalent(*_made_up(ones), draws=2000, rng=np.random.default_rng(2))
    for k, rate in enumerate(UNEQUAL_RATES):
        for values, true in ((found.odd[:, k], 2.0), (found.even[:, k], 10.0)):
            # a loss proportional to p is nearly straight in its logit over ln p
            assert abs(values.mean() - true) < 4 * values.std() + 0.002 / rate, rate
    assert found.even[:, 3].std() < 2.0
    central = found.central()
    ln_p = np.log([[0.03]])
    expected = np.log(0.03) + np.log1p((2 * ones - 1) * 0.5) + 0.03 * (2 * 0.5 + 10 * 0.25)
    assert central.ln_equivalent(ln_p, np.full((1, 1), 0.5)).item() == pytest.approx(
        expected, abs=0.05
    )


def test_edges_of_the_equivalent_rate() -> None:
    law = Equivalent(np.log([0.01, 0.1]), np.zeros((1, 2)), np.full((1, 2), 10.0), 0.5)
    ln_p = np.array([[-np.inf, np.log(1e-6), np.log(0.1), np.log(0.3), np.log(0.7)]])
    np.testing.assert_array_equal(law.ln_equivalent(ln_p, np.zeros((1, 5))), ln_p)
    found = np.exp(law.ln_equivalent(ln_p, np.ones((1, 5))))[0]
    assert found[0] == 0
    assert found[1] == pytest.approx(1e-6 * np.exp(1e-5), rel=1e-12)
    assert found[2] == pytest.approx(0.1 * np.e, rel=1e-12)
    # never above one half, unless the rate is
    assert found[3] == pytest.approx(0.5)
    assert found[4] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network_sha256": "b"}, "differ in network_sha256"),
        ({"protected": "output"}, "differ in protected"),
    ],
)
def test_tables_of_unlike_evaluations_are_refused(changed: dict[str, str], message: str) -> None:
    counts, unequal = _made_up()
    with pytest.raises(ValueError, match=message):
        fit_equivalent(
            counts, unequal.assign_attrs(changed), draws=10, rng=np.random.default_rng(1)
        )
    with pytest.raises(ValueError, match="have 0 cases"):
        fit_equivalent(
            counts, unequal.isel(case=slice(1, None)), draws=10, rng=np.random.default_rng(1)
        )


def compared(tilt: float, stored: StoredBits, *, counted: bool = True) -> Comparison:
    """Eight programming values, one tilt at all; harm of known size."""
    rng = np.random.default_rng(1)
    ln_one = np.log(0.06) - 0.9 * np.arange(8) + 0.05 * rng.standard_normal((1, DRAWS, 1))
    edge = np.zeros(8, bool)
    ber = {
        "made up": {
            "1T1R": BerCurve("1T1R", X, ln_one, np.ones(8), edge, 1e-3),
            "2T2R": BerCurve("2T2R", X, ln_one - 1.0, None, edge, 1e-3),
        }
    }
    law = Equivalent(np.log([0.01, 0.1]), np.full((1, 2), 3.0), np.full((1, 2), 15.0), 0.5)
    return compare_designs(
        ber,
        CURVES,
        pair_draws(DRAWS, DRAWS, draws=DRAWS, rng=rng),
        Energy(X, 1e-7 * X * np.exp(0.1 * rng.standard_normal((DRAWS, 1))), CURRENT, "known"),
        requirement=Requirement(),
        sensing=SensingOptions(),
        programming=CURRENT,
        unequal=UnequalErrors(
            np.full((DRAWS, 8), tilt), stored, dict.fromkeys(CURVES, law) if counted else {}
        ),
    )


def test_designs_see_the_equivalent_rate_and_pairs_the_mean_rate() -> None:
    plain, other = (compared(0.8, StoredBits(state)) for state in ("LRS", "HRS"))
    scrambled = compared(0.8, StoredBits(scrambled=True))
    ln_p = plain.network_ln_ber(PLAIN)
    for found, u in ((plain, 0.8), (other, -0.8), (scrambled, 0.0)):
        expected = ln_p + np.exp(ln_p) * (3 * u + 15 * u**2)
        seen = found.equivalent_ln_ber("standard", PLAIN)
        np.testing.assert_allclose(seen, np.minimum(expected, np.log(0.5)), rtol=1e-12)
        pair = Storage("2T2R")
        np.testing.assert_array_equal(
            found.equivalent_ln_ber("standard", pair), found.network_ln_ber(pair)
        )
    met = [found.designs[0].p_met for found in (plain, other, scrambled)]
    assert (met[0] <= met[1] + 1e-12).all()
    assert (met[1] <= met[2] + 1e-12).all()
    assert met[0].sum() < met[2].sum() - 0.05
    # memory counts wrong bits, whatever they store
    memory = [found.references[1].condition.x for found in (plain, scrambled)]
    np.testing.assert_array_equal(*memory)
    assert (plain.references[0].condition.x > scrambled.references[0].condition.x).mean() > 0.9


def test_the_limit_on_the_device_is_where_its_equivalent_rate_is_tolerated() -> None:
    """Solved by Newton's method: p exp(p (3 u + 15 u^2)) = q."""
    found = compared(0.8, StoredBits())
    ln_q = tolerated(found.standard, found.requirement.max_loss)[found.pairing.curve]
    ln_p = ln_q.copy()
    for _ in range(30):
        p = np.exp(ln_p) * 12.0
        ln_p -= (ln_p + p - ln_q) / (1 + p)
    # the grid is coarse (steps of 0.9 in ln p) and interpolated
    np.testing.assert_allclose(limit_on_device(found, "standard", PLAIN), ln_p, atol=0.02)
    equal = compared(0.0, StoredBits())
    np.testing.assert_array_equal(limit_on_device(equal, "standard", PLAIN), ln_q)


def test_pairs_as_they_are_give_the_limits_as_they_are() -> None:
    """What the sources of the saving are arranged from, with the rates that do the same harm."""
    found, rows = compared(0.8, StoredBits()), np.arange(DRAWS)
    same = rearranged(found, found.focus, dict.fromkeys(("device", "curve", "energy inputs"), rows))
    np.testing.assert_allclose(
        same.references[0].condition.x, found.references[0].condition.x, rtol=1e-12
    )
    at = found.focus.condition.x
    np.testing.assert_allclose(same.designs[-1].condition.x, at, rtol=1e-12)
    reversed_rows = {"device": rows[::-1], "curve": rows, "energy inputs": rows}
    other = rearranged(found, found.focus, reversed_rows)
    assert (other.references[0].condition.x != found.references[0].condition.x).mean() > 0.9


def test_words_and_gate() -> None:
    known = compared(0.8, StoredBits())
    record = unequal_record(known)
    assert unequal_gate(known, record).passed
    if record["design"]["scheme"].startswith("1T1R"):
        assert record["share_of_ones"]["median"] == pytest.approx(0.9)
        assert "90 % of the wrong bits are stored ones" in record["sentence"]
    unknown = compared(0.8, StoredBits(), counted=False)
    failed = unequal_gate(unknown, unequal_record(unknown))
    assert not failed.passed
    assert failed.value == pytest.approx(0.8)
    assert "9 times as often" in failed.finding
    assert "--scrambled" in failed.remedy
    small = compared(HARMLESS_TILT / 2, StoredBits(), counted=False)
    assert unequal_gate(small, unequal_record(small)).passed
    scrambled = compared(0.8, StoredBits(scrambled=True), counted=False)
    assert unequal_gate(scrambled, unequal_record(scrambled)).passed
    assert "scrambled" in unequal_record(scrambled)["sentence"]
    with pytest.raises(ValueError, match="one of LRS, HRS"):
        StoredBits("lrs")


def test_scrambled_bits_are_read_as_what_the_cells_hold() -> None:
    """Cells in LRS are always misread, those in HRS never: the wrong bits are known exactly."""
    network, _ = bnn.load_zoo("digits-standard")
    one = np.zeros((1, 1))
    reader = CellReader(
        "1T1R",
        1e-5,
        Mixture(one, one + 20.0, one + 0.1, ("normal",)),
        Mixture(one, one + 21.0, one + 0.1, ("normal",)),
        10.0,
        None,
    )
    plain = wrong_positions(network, reader, seed=1, chip=0)
    scrambled = wrong_positions(network, reader, seed=1, chip=0, scrambled=True)
    shares = []
    for index, layer in enumerate(network.layers):
        bits = (bnn.network.layer_signs(layer) > 0).ravel()
        np.testing.assert_array_equal(plain[layer.name], np.flatnonzero(bits))
        mask = scrambling(index, bits.size)
        np.testing.assert_array_equal(scrambled[layer.name], np.flatnonzero(bits != mask))
        shares.append([mask.mean(), np.mean(bits[scrambled[layer.name]])])
        # half of the bits, whatever they store; z = 4
        assert np.abs(np.array(shares[-1]) - 0.5).max() < 4 * 0.5 / np.sqrt(bits.size / 2)


def test_treated_thresholds_are_counted_with_their_treatment(digits: bnn.ImageSet) -> None:
    """Calibrated and folded chips at one rate, against the functions that count them."""
    from bnn.calibration import FOLDED_FOR_EACH, PER_CHIP

    network, _ = bnn.load_zoo("digits-standard")
    reference = bnn.calibration_reference(network, digits.train_images[:300])
    data = (digits.test_images, digits.test_labels)
    errors = [bnn.Errors((tilted_flips(0.05, u),)) for u in (-1.0, 1.0)]
    options = {"errors": errors, "chips": 2, "seed": 3, "threads": 1}
    by_hand = {
        PER_CHIP: bnn.evaluate_calibrated(reference, *data, count=bnn.evaluate_errors, **options),
        FOLDED_FOR_EACH: bnn.evaluate_errors(bnn.fold_for_ber(reference, 0.05), *data, **options),
    }
    for treatment, expected in by_hand.items():
        found = unequal_counts(
            network,
            digits,
            treatment=treatment,
            reference=reference,
            rates=[0.05],
            chips=2,
            seed=3,
            threads=1,
        )
        np.testing.assert_array_equal(found["correct"].values, expected["correct"].values)
    with pytest.raises(ValueError, match="known: fixed"):
        unequal_counts(network, digits, treatment="none", chips=2, seed=3)
    with pytest.raises(ValueError, match="need a reference"):
        unequal_counts(network, digits, treatment=PER_CHIP, chips=2, seed=3)
