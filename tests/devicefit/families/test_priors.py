import re
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest, norm

from devicefit.families.frame import Frame
from devicefit.families.prior_tables import core_priors, failure_priors
from devicefit.families.registry import FAMILIES
from devicefit.inputs.programming import Programming
from devicefit.likelihood.levels import level_priors
from devicefit.priors.files import apply, read_priors
from devicefit.priors.statements import QUANTITIES
from devicefit.sampling.prior import Prior, ln_prior, prior_record, sample_priors

CURRENT, GATE = Programming("i", "A"), Programming("v", "V")
PAGE = Path(__file__).parents[3] / "docs" / "priors.md"


def frame_of(programming: Programming = CURRENT, **more: object) -> Frame:
    return Frame(programming, 1e-5, 1e-3, **more)


@pytest.mark.parametrize("programming", [CURRENT, GATE, Programming("t", "s")])
def test_names_are_unique_and_every_prior_tells_its_source(programming: Programming) -> None:
    frame = frame_of(programming)
    priors = (*core_priors(frame), *failure_priors(frame))
    assert len({p.name for p in priors}) == len(priors)
    for prior in priors:
        assert prior.meaning
        assert prior.source


def test_a_current_has_its_own_law() -> None:
    names = {p.name for p in core_priors(frame_of())}
    assert {"ln_v_c", "exponent", "ln_r_series"} <= names
    assert "onset" not in names
    assert "onset" in {p.name for p in core_priors(frame_of(GATE))}
    assert "set_centre" in {p.name for p in failure_priors(frame_of())}
    assert "set_centre" not in {p.name for p in failure_priors(frame_of(GATE))}


@pytest.mark.parametrize("sd", [0.0, -1.0, np.nan])
def test_sd_is_positive(sd: float) -> None:
    with pytest.raises(ValueError, match="prior place: sd is .*; it must be positive"):
        Prior("place", 0.0, sd, "", "")


def test_samples_follow_the_priors() -> None:
    priors = core_priors(frame_of())
    draws = sample_priors(priors, draws=10_000, rng=np.random.default_rng(3))
    for prior in priors:
        values = draws[prior.name]
        assert values.shape == (1, 10_000)
        # 20 checks at 4.5 standard errors: 1.4e-4 that a correct one fails
        assert abs(values.mean() - prior.mean) < 4.5 * prior.sd / 100
        assert abs(values.std() / prior.sd - 1) < 4.5 / np.sqrt(2 * 10_000)
    again = sample_priors(priors, draws=10_000, rng=np.random.default_rng(3))
    assert all(np.array_equal(draws[name], again[name]) for name in draws)


def test_vectors_have_their_terms_last() -> None:
    prior = Prior("a", 1.0, 2.0, "what", "whence", size=3)
    draws = sample_priors((prior,), draws=5000, rng=np.random.default_rng(3))["a"]
    assert draws.shape == (1, 5000, 3)
    # three means, and three correlations of independent terms, at 4 standard errors: 4e-4
    assert np.all(np.abs(draws.mean(axis=1) - 1.0) < 4 * 2.0 / np.sqrt(5000))
    correlation = np.corrcoef(draws[0].T)[np.triu_indices(3, 1)]
    assert np.all(np.abs(correlation) < 4 / np.sqrt(5000))


def test_shifts_of_arrays_have_the_sd_of_their_draw() -> None:
    priors = tuple(
        p for p in core_priors(frame_of(arrays=("a", "b", "c"))) if "lrs_location_array" in p.name
    )
    assert [p.name for p in priors] == ["ln_sd_lrs_location_array", "lrs_location_array"]
    draws = sample_priors(priors, draws=20_000, rng=np.random.default_rng(5))
    in_sd = draws["lrs_location_array"] / np.exp(draws["ln_sd_lrs_location_array"])[..., None]
    assert kstest(in_sd.ravel(), "norm").pvalue > 1e-3
    # a control that must fail: shifts themselves are no normal variable
    shifts = draws["lrs_location_array"]
    assert kstest((shifts / shifts.std()).ravel(), "norm").pvalue < 1e-6
    expected = norm(priors[0].mean, priors[0].sd).logpdf(draws[priors[0].name]) + norm(
        0.0, np.exp(draws[priors[0].name])[..., None]
    ).logpdf(shifts).sum(axis=2)
    difference = ln_prior(priors, draws) - expected
    np.testing.assert_allclose(difference, difference[0, 0], rtol=0, atol=1e-10)


def test_record_is_plain() -> None:
    prior = Prior("a", 1.0, 2.0, "what", "whence", size=3, dim="array", ln_sd="b")
    numbers = {"mean": 1.0, "sd": 2.0, "size": 3}
    words = {"dim": "array", "ln_sd": "b", "meaning": "what", "source": "whence"}
    assert prior_record((prior,)) == [{"name": "a", **numbers, **words}]


def row(prior: Prior) -> str:
    """Row of the table in docs/priors.md; the range is on the scale that the name undoes."""
    back = {
        "ln": np.exp,
        "log10": lambda v: expit(v * np.log(10)),
        "logit": expit,
        "atanh": np.tanh,
    }.get(prior.name.split("_")[0], lambda v: v)
    low, high = back(np.array(norm.interval(0.9, prior.mean, prior.sd)))
    vector = " (vector)" if prior.size else ""

    def rounded(value: float) -> str:
        return f"{float(f'{value:.2g}'):g}"

    return (
        f"| `{prior.name}`{vector} | {prior.mean:.3g} | {prior.sd:.3g} | "
        f"{rounded(low)} to {rounded(high)} | {prior.meaning} | {prior.source} |"
    )


def all_rows() -> list[str]:
    """Rows of every prior that some frame and family can have, each once."""
    frames = [
        frame_of(p, second=GATE, second_low=1.0, second_high=2.0, arrays=("a", "b"), terms=1)
        for p in (CURRENT, GATE, Programming("t", "s"))
    ]
    one_condition = Frame(CURRENT, 1e-4, 1e-4)
    rows = [
        row(p)
        for frame in (*frames, one_condition)
        for family in FAMILIES.values()
        for p in family.priors(frame)
    ]
    names = [f"logit_{n}_{s}" for n in ("device_share", "array_part") for s in ("lrs", "hrs")]
    names += [f"atanh_cycle_correlation_{s}" for s in ("lrs", "hrs")]
    rows += [row(p) for p in level_priors(frozenset({*names, "atanh_state_correlation"}))]
    return list(dict.fromkeys(rows))


def test_the_example_of_the_page_can_be_used(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "my_priors.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    file = read_priors(tmp_path / "my_priors.toml")
    assert {e.name for e in file.entries} > {"hrs_median", "lrs_median", "set_failure"}
    frame = frame_of()
    own = FAMILIES["switching-failure"].priors(frame)
    priors, statements = apply(file, own, programming=CURRENT)
    assert priors != own
    assert [s.quantity for s in statements] == ["lrs_median"]
    listed = re.findall(r"^\| `\[(\w+)\]`", text, flags=re.MULTILINE)
    assert listed == list(QUANTITIES)


def test_the_page_lists_every_prior_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"^\| `.*` .*\|$", text.split("## All parameters")[1], flags=re.MULTILINE)
    expected = all_rows()
    missing = [r for r in expected if r not in shown]
    assert not missing, f"add to {PAGE.name}:\n" + "\n".join(missing)
    stale = [r for r in shown if r not in expected]
    assert not stale, f"remove from {PAGE.name}:\n" + "\n".join(stale)
