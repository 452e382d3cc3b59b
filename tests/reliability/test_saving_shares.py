"""Shares of the saving and regret on made-up curves, against closed forms and brute force."""

from dataclasses import replace

import numpy as np
import pytest
from reliability.accuracy_curve import AccuracyCurve, FurtherTraining

from devicefit.programming import Programming
from devicefit.sensing import BerCurve, SensingOptions
from reliability.choices import choices_record
from reliability.designs import Comparison, compare_designs
from reliability.energy import Energy
from reliability.propagation import pair_draws, propagate
from reliability.requirement import Requirement, Utility
from reliability.saving_shares import AT_LIMIT, RECOMMENDED, saving_sources
from reliability.saving_uncertainty import saving_uncertainty
from reliability.storage import PLAIN

ROWS = 600
CURRENT = Programming("SET compliance current", "A")
X = np.geomspace(1e-5, 1e-3, 8)
U = np.log(X)
PER_VALUE = 2.0
"""What ln BER falls by from one programming value to the next."""


def curve(middle: float, *, sd: float = 0.0, seed: int = 0) -> AccuracyCurve:
    """Logit of lost images straight in ln BER, its place known with the standard deviation."""
    ln_ber = np.log([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5])
    place = np.log(middle) + sd * np.random.default_rng(seed).standard_normal((ROWS, 1))
    return AccuracyCurve(
        ln_ber,
        {"lost": 1.5 * (ln_ber - place), "gained": np.full((ROWS, 6), -30.0)},
        {kind: np.zeros((ROWS, 6)) for kind in ("lost", "gained")},
        images=10_000,
        correct=9_800,
        chips=20,
        diagnostics={},
    )


def compared(
    curves: dict[str, AccuracyCurve],
    *,
    device_sd: float = 0.3,
    slope_sd: float = 0.0,
    per_value: float = PER_VALUE,
    requirement: Requirement | None = None,
    family: np.ndarray | None = None,
) -> Comparison:
    rng = np.random.default_rng(1)
    shift = device_sd * rng.standard_normal(ROWS)
    if family is not None:
        shift += family
    ln_ber = (np.log(0.3) + shift[:, None] - per_value * np.arange(8))[None]
    edge = np.zeros(8, bool)
    ber = {
        "made up": {
            "1T1R": BerCurve("1T1R", X, ln_ber, np.ones(8), edge, 1e-3),
            "2T2R": BerCurve("2T2R", X, ln_ber, None, edge, 1e-3),
        }
    }
    pairing = pair_draws(ROWS, ROWS, draws=ROWS, rng=rng)
    slope = 1 + slope_sd * rng.standard_normal((ROWS, 1))
    common = 0.2 * rng.standard_normal((ROWS, 1))
    energy = Energy(X, np.exp(common + slope * (U - U[0])) * 1e-12, CURRENT, "made up")
    return compare_designs(
        ber,
        curves,
        pairing,
        energy,
        requirement=requirement or Requirement(memory_ber=1e-5),
        sensing=SensingOptions(),
        programming=CURRENT,
        storages=[PLAIN],
        family=None if family is None else (family > 0).astype(np.int64),
    )


def test_recommended_saving_has_the_shares_of_its_closed_form() -> None:
    """Ln S = slope (u_limit - u_safe), u_limit linear in the shifts of device and tolerated BER."""
    c = compared({"standard": curve(0.1, sd=0.2), "trained": curve(0.25)}, slope_sd=0.2)
    assert c.focus.network == "trained"
    step = (U[1] - U[0]) / PER_VALUE
    ln_ber = c.network_ln_ber(PLAIN)[c.pairing.device][:, 0]
    ln_borne = c.tolerated_ln_ber["standard"][c.pairing.curve]
    slope = np.log(c.energy.e_cell_j[:, 1] / c.energy.e_cell_j[:, 0]) / (U[1] - U[0])
    assert c.focus.safe.lowest is not None
    way = U[0] + step * (ln_ber.mean() - ln_borne.mean()) - np.log(c.focus.safe.lowest)
    of_limit = step**2 * np.array([ln_ber.var(), ln_borne.var()])
    parts = {
        "device": slope.mean() ** 2 * of_limit[0],
        "curve": slope.mean() ** 2 * of_limit[1],
        "energy inputs": way**2 * slope.var(),
        "interaction": of_limit.sum() * slope.var(),
    }
    total = sum(parts.values())
    found = saving_sources(c, draws=20_000, seed=2)["standard_bnn"][RECOMMENDED]
    assert found.bounds == 0
    # the comparison's own pairs: a variance of 600 values, standard error 6 %
    assert found.sd_ln**2 == pytest.approx(total, rel=4 * 0.06)
    for name, part in parts.items():
        error = found.shares.standard_error[name]
        assert 0 < error < 0.02
        assert found.shares.share[name] == pytest.approx(part / total, abs=4 * error)


def test_what_both_sides_have_in_common_has_no_share() -> None:
    """At their limits the device's shift moves both alike; energies have one slope."""
    c = compared({"standard": curve(0.1, sd=0.2), "trained": curve(0.25)})
    share = saving_sources(c, draws=500, seed=3)["standard_bnn"][AT_LIMIT].shares.share
    assert share["curve"] == pytest.approx(1)
    assert share["device"] == pytest.approx(0, abs=1e-9)
    assert share["energy inputs"] == pytest.approx(0, abs=1e-9)


def test_trainings_and_families_have_shares_of_their_own() -> None:
    plain = curve(0.1, sd=0.2)
    own = 0.5 * np.random.default_rng(5).standard_normal((ROWS, 1)) * np.ones(6)
    further = FurtherTraining(3, {"lost": own, "gained": np.zeros((ROWS, 6))}, {}, np.zeros(ROWS))
    lost = plain.logit_share["lost"] + own
    several = replace(plain, logit_share={**plain.logit_share, "lost": lost}, further=further)
    family = np.where(np.arange(ROWS) % 3 == 0, 0.6, -0.3)
    c = compared({"standard": several, "trained": curve(0.25)}, device_sd=0.3, family=family)
    found = saving_sources(c, draws=6000, seed=4)["standard_bnn"][RECOMMENDED].shares
    assert list(found.share) == [
        "family", "device", "training", "curve", "energy inputs", "interaction",
    ]  # fmt: skip
    # The tolerated BER moves by the deviation of the logit over its slope.
    ln_ber = c.network_ln_ber(PLAIN)[:, 0]
    mean = np.array([ln_ber[family == f].mean() for f in (0.6, -0.3)])
    between = 2 / 9 * (mean[0] - mean[1]) ** 2
    parts = {
        "family": between,
        "device": ln_ber.var() - between,
        "training": own[:, 0].var() / 1.5**2,
        "curve": plain.logit_share["lost"][:, 0].var() / 1.5**2,
    }
    total = sum(parts.values())
    for name, part in parts.items():
        expected = part / total
        assert found.share[name] == pytest.approx(expected, abs=4 * found.standard_error[name])


def test_limits_beyond_the_range_are_said() -> None:
    curves = {"standard": curve(0.1), "trained": curve(0.25)}
    found = saving_uncertainty(compared(curves, requirement=Requirement(memory_ber=1e-9)), seed=5)
    assert found is not None
    assert found["against"]["memory"][RECOMMENDED]["share_of_bounds"] == 1.0
    assert (
        "Against plain memory: the saving is only a bound, for in 100 % of the draws a limit lies "
        "beyond the measured range, so measure above 1 mA." in found["sentence"]
    )
    assert "Against the standard network: most of it (100 % of the variance)" in found["sentence"]
    partly = saving_uncertainty(
        compared(curves, device_sd=0.8, requirement=Requirement(memory_ber=4e-7)), seed=5
    )
    assert partly is not None
    record = partly["against"]["memory"][RECOMMENDED]
    assert 0.05 < record["share_of_bounds"] < 0.5
    assert (
        "whose end then counts, so that more is unknown than this: measure above 1 mA too"
        in (record["finding"])
    )
    none = compared(curves, device_sd=0.05, per_value=0.02)
    assert none.best is None
    nothing = saving_uncertainty(none, seed=5)
    assert nothing is not None
    assert nothing["sentence"].startswith(
        "Uncertainty of the saving if the limits of the mean chip"
    )
    assert all(set(of) == {AT_LIMIT} for of in nothing["against"].values())


def test_regret_is_what_brute_force_over_chips_finds() -> None:
    """Chips of each design are drawn one by one; the engineer who knows the design is a loop."""
    wanted = Requirement(utility=Utility(1.3, 2.0))
    c = compared({"standard": curve(0.1, sd=0.3)}, device_sd=0.5, requirement=wanted)
    (design,) = c.designs
    record = choices_record(c, design)
    rows, chips = 150, 400
    rng = np.random.default_rng(6)
    excess, missed, cost = np.zeros((rows, 8)), np.zeros((rows, 8)), np.zeros((rows, 8))
    never = 0
    for i in range(rows):
        pairing = pair_draws(1, 1, draws=chips, rng=rng)
        pairing = replace(
            pairing,
            device=np.full(chips, c.pairing.device[i]),
            curve=np.full(chips, c.pairing.curve[i]),
        )
        loss = propagate(c.standard, c.network_ln_ber(PLAIN), pairing).loss
        kept = (loss <= 0.01 + 1e-12).mean(axis=0)
        e = c.energy.e_cell_j[i]
        enough = [e[k] for k in range(8) if kept[k] >= 0.95]
        never += not enough
        for k in range(8):
            missed[i, k] = kept[k] < 0.95
            excess[i, k] = 0.0 if missed[i, k] else e[k] - min(enough)
        cost[i] = np.log(e) + 100 * loss.mean(axis=0) * np.log(1.3) + (1 - kept) * np.log(2.0)
    regret = record["energy_regret"]
    for name, brute in (("expected_j", excess), ("p_missed", missed)):
        error = brute.std(axis=0) * np.sqrt(1 / rows + 1 / ROWS)
        # z = 4 for 8 values each; a value that all draws agree on is met exactly
        np.testing.assert_array_less(np.abs(regret[name] - brute.mean(axis=0)), 4 * error + 1e-15)
    assert regret["share_never_met"] == never == 0
    lost = (cost - cost.min(axis=1, keepdims=True)).mean(axis=0)
    spread = (cost - cost.min(axis=1, keepdims=True)).std(axis=0) * np.sqrt(1 / rows + 1 / ROWS)
    assert np.all(np.abs(record["utility"]["opportunity_loss"] - lost) < 4 * spread + 0.01)
    per_chip = record["energy_regret_per_chip"]
    assert np.any(np.abs(np.array(per_chip["p_missed"]) - missed.mean(axis=0)) > 0.05)
