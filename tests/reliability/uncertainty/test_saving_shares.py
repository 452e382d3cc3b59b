"""Shares of the saving and regret on made-up curves, against closed forms and brute force."""

from dataclasses import replace

import numpy as np
import pytest

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.inputs.programming import Programming
from reliability.accuracy.propagation import pair_draws, propagate
from reliability.accuracy.surface import AccuracySurface, FurtherTraining
from reliability.decision.compare import compare_designs
from reliability.decision.comparison import Comparison, Setting
from reliability.decision.requirement import Requirement, StatedReference, Utility
from reliability.decision.saving import saving_of
from reliability.energy.energy import Energy
from reliability.plans.seen_rates import SeenRates
from reliability.plans.storage import PLAIN
from reliability.statements.choices import choices_record
from reliability.uncertainty.saving_shares import saving_sources, saving_uncertainty
from tests.reliability.made_up import flat_in_tilt

ROWS = 600
CURRENT = Programming("SET compliance current", "A")
X = np.geomspace(1e-5, 1e-3, 57)
U = np.log(X)
PER_VALUE = 0.25
"""What ln BER falls by from one programming value to the next."""


def curve(middle: float, *, sd: float = 0.0, seed: int = 0) -> AccuracySurface:
    """Logit of lost images straight in ln BER, its place known with the standard deviation.

    Beyond a rate of one too, so that all draws of a made-up device are known.
    """
    ln_ber = np.log([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 3.0])
    place = np.log(middle) + sd * np.random.default_rng(seed).standard_normal((ROWS, 1))
    return flat_in_tilt(
        ln_ber,
        {"lost": 1.5 * (ln_ber - place), "gained": np.full((ROWS, 6), -30.0)},
        {kind: np.zeros((ROWS, 6)) for kind in ("lost", "gained")},
        images=10_000,
        correct=9_800,
    )


def compared(
    curves: dict[str, AccuracySurface],
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
    ln_ber = (np.log(0.3) + shift[:, None] - per_value * np.arange(len(X)))[None]
    edge = np.zeros(len(X), bool)
    ber = {
        "made up": {
            "1T1R": BerCurve("1T1R", X, ln_ber, np.ones(len(X)), edge, 1e-3),
            "2T2R": BerCurve("2T2R", X, ln_ber, None, edge, 1e-3),
        }
    }
    pairing = pair_draws(ROWS, ROWS, draws=ROWS, rng=rng)
    slope = 1 + slope_sd * rng.standard_normal((ROWS, 1))
    common = 0.2 * rng.standard_normal((ROWS, 1))
    energy = Energy(X, np.exp(common + slope * (U - U[0])) * 1e-12, CURRENT, "made up")
    return compare_designs(
        Setting(
            ber=ber,
            curves=curves,
            pairing=pairing,
            energy=energy,
            requirement=requirement or Requirement(memory_ber=1e-5),
            sensing=SensingOptions(),
            programming=CURRENT,
            family=None if family is None else (family > 0).astype(np.int64),
        ),
        [PLAIN],
    )


def test_a_design_saves_exactly_one_against_itself() -> None:
    c = compared({"standard": curve(0.1, sd=0.2)})
    record = saving_of(c, c.focus, c.references[0]).record()
    assert (record["low"], record["median"], record["high"]) == (1.0, 1.0, 1.0)
    # the strongest value does not suffice, the weakest one does: it is the same device
    for shift in (-12.0, 12.0):
        far = compared({"standard": curve(0.1, sd=0.2)}, family=np.full(ROWS, shift))
        own = saving_of(far, far.designs[0], far.references[0])
        assert (own.factor == 1).all()
        assert not own.outside.any()


def test_each_side_stands_where_enough_of_its_chips_suffice() -> None:
    """Brute force for some draws: chips one by one at values around the one that is found."""
    c = compared({"standard": curve(0.1, sd=0.2), "trained": curve(0.25)}, device_sd=0.5)
    rng, chips = np.random.default_rng(9), 20_000
    for design in c.designs:
        for i in range(0, ROWS, 150):
            at = float(np.interp(np.log(design.condition.x[i]), U, np.arange(len(X))))
            ln_ber = c.network_ln_ber(PLAIN)[c.pairing.device[i]]
            near = np.interp([at - 0.5, at, at + 0.5], np.arange(len(X)), ln_ber)
            pairing = replace(
                pair_draws(1, 1, draws=chips, rng=rng),
                curve=np.full(chips, c.pairing.curve[i]),
            )
            loss = propagate(c.curves[design.network], SeenRates.equal(near[None]), pairing).loss
            below, here, above = (loss <= 0.01 + 1e-12).mean(axis=0)
            # z = 4 for 8 draws; half a percent for the strata of the exact share
            assert here == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / chips) + 0.005)
            assert below < 0.93
            assert above > 0.96


def test_the_saving_has_the_shares_of_its_closed_form() -> None:
    """Ln S = slope (u_reference - u_design); a shift of the device moves both sides alike.

    A shift of a curve in ln BER moves the value that suffices by the same, whatever the chips do,
    as the law of the chips depends on the rate alone.
    """
    c = compared({"standard": curve(0.1, sd=0.2), "trained": curve(0.25)}, slope_sd=0.2)
    assert c.focus.network == "trained"
    step = (U[1] - U[0]) / PER_VALUE
    place = -c.curves["standard"].logit_share["lost"][c.pairing.curve, 0, 0] / 1.5
    slope = np.log(c.energy.e_cell_j[:, 1] / c.energy.e_cell_j[:, 0]) / (U[1] - U[0])
    way = np.log(c.references[0].condition.x / c.focus.condition.x)
    # the way is a constant less step times the shift of the standard network's curve
    assert np.corrcoef(way, place)[0, 1] < -0.99
    of_curve = step**2 * place.var()
    parts = {
        "device": 0.0,
        "curve": slope.mean() ** 2 * of_curve,
        "energy inputs": way.mean() ** 2 * slope.var(),
        "interaction": of_curve * slope.var(),
    }
    total = sum(parts.values())
    found = saving_sources(c, c.focus, draws=10_000, seed=2)["standard_bnn"]
    assert found.bounds == 0
    # the comparison's own pairs: a variance of 600 values, standard error 6 %
    assert found.sd_ln**2 == pytest.approx(total, rel=4 * 0.06)
    for name, part in parts.items():
        error = found.shares.standard_error[name]
        # a crossing that is interpolated between grid values knows a little of the device
        assert found.shares.share[name] == pytest.approx(part / total, abs=4 * error + 0.01)


def test_trainings_and_families_have_shares_of_their_own() -> None:
    plain = curve(0.1, sd=0.2)
    own = 0.5 * np.random.default_rng(5).standard_normal((ROWS, 1, 1)) * np.ones((6, 2))
    further = FurtherTraining(3, {"lost": own, "gained": np.zeros_like(own)}, {}, np.zeros(ROWS))
    lost = plain.logit_share["lost"] + own
    several = replace(plain, logit_share={**plain.logit_share, "lost": lost}, further=further)
    family = np.where(np.arange(ROWS) % 3 == 0, 0.6, -0.3)
    stated = Requirement(reference=StatedReference(5e-4, "A"))
    c = compared({"standard": several}, device_sd=0.3, family=family, requirement=stated)
    found = saving_sources(c, c.focus, draws=6000, seed=4)["stated"].shares
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
        "training": own[:, 0, 0].var() / 1.5**2,
        "curve": plain.logit_share["lost"][:, 0, 0].var() / 1.5**2,
    }
    total = sum(parts.values())
    for name, part in parts.items():
        expected = part / total
        assert found.share[name] == pytest.approx(expected, abs=4 * found.standard_error[name])


def test_limits_beyond_the_range_are_said() -> None:
    curves = {"standard": curve(0.1), "trained": curve(0.25)}
    found = saving_uncertainty(compared(curves, requirement=Requirement(memory_ber=1e-9)), seed=5)
    assert found is not None
    assert found["against"]["memory"]["share_of_bounds"] == 1.0
    assert (
        "against plain memory, it is only a bound, for in 100 % of the draws a side lies beyond "
        "the measured range (above 1 mA)." in found["sentence"]
    )
    assert "against the standard network, most of it (" in found["sentence"]
    partly = saving_uncertainty(
        compared(curves, device_sd=0.8, requirement=Requirement(memory_ber=4e-7)), seed=5
    )
    assert partly is not None
    record = partly["against"]["memory"]
    assert 0.05 < record["share_of_bounds"] < 0.5
    assert "(above 1 mA), so that more is unknown than this" in record["finding"]
    none = compared(curves, device_sd=0.05, per_value=0.0025)
    assert none.best is None
    assert saving_uncertainty(none, seed=5) is None


def test_regret_is_what_brute_force_over_chips_finds() -> None:
    """Chips of each design are drawn one by one; the engineer who knows the design is a loop."""
    wanted = Requirement(utility=Utility(1.3, 2.0))
    c = compared({"standard": curve(0.1, sd=0.3)}, device_sd=0.5, requirement=wanted)
    (design,) = c.designs
    record = choices_record(c, design)
    rows, chips = 150, 400
    rng = np.random.default_rng(6)
    excess, missed, cost = (np.zeros((rows, len(X))) for _ in range(3))
    never = 0
    for i in range(rows):
        pairing = pair_draws(1, 1, draws=chips, rng=rng)
        pairing = replace(
            pairing,
            device=np.full(chips, c.pairing.device[i]),
            curve=np.full(chips, c.pairing.curve[i]),
        )
        loss = propagate(c.standard, c.seen[PLAIN], pairing).loss
        kept = (loss <= 0.01 + 1e-12).mean(axis=0)
        e = c.energy.e_cell_j[i]
        enough = [e[k] for k in range(len(X)) if kept[k] >= 0.95]
        never += not enough
        for k in range(len(X)):
            missed[i, k] = kept[k] < 0.95
            excess[i, k] = 0.0 if missed[i, k] else e[k] - min(enough)
        cost[i] = np.log(e) + 100 * loss.mean(axis=0) * np.log(1.3) + (1 - kept) * np.log(2.0)
    regret = record["energy_regret"]
    for name, brute in (("expected_j", excess), ("p_missed", missed)):
        error = brute.std(axis=0) * np.sqrt(1 / rows + 1 / ROWS)
        away = np.abs(regret[name] - brute.mean(axis=0))
        # z = 4 for 8 values each; a value that all draws agree on is met exactly
        np.testing.assert_array_less(away[::8], 4 * error[::8] + 1e-15)
    assert regret["share_never_met"] == never == 0
    lost = (cost - cost.min(axis=1, keepdims=True)).mean(axis=0)
    spread = (cost - cost.min(axis=1, keepdims=True)).std(axis=0) * np.sqrt(1 / rows + 1 / ROWS)
    assert np.all(np.abs(record["utility"]["opportunity_loss"] - lost) < 4 * spread + 0.01)
    per_chip = record["energy_regret_per_chip"]
    assert np.any(np.abs(np.array(per_chip["p_missed"]) - missed.mean(axis=0)) > 0.05)
