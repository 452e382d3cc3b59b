import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.inputs.programming import UNITS, Programming
from devicefit.priors.files import (
    PROBABILITY,
    PriorFile,
    PriorFileError,
    apply,
    read_priors,
    without_missing,
)
from devicefit.priors.statements import QUANTITIES, Statement
from devicefit.sampling.prior import Prior

CURRENT, GATE = Programming("SET compliance current", "A"), Programming("SET gate voltage", "V")
EXAMPLE = """
[hrs_median]
between = ["50 kohm", "200 kohm"]
probability = 0.8
source = "wafer 12"
[lrs_median]
between = ["2 kohm", "8 kohm"]
at = "100 uA"
[hrs_spread]
between = [0.3, 0.7]
[set_failure]
between = [1e-6, 1e-3]
[reset_failure]
between = [1e-7, 1e-2]
[parameter.exponent]
mean = 1.0
sd = 0.1
"""


def priors_of(family: str, programming: Programming = CURRENT) -> tuple[Prior, ...]:
    return FAMILIES[family].priors(Frame(programming, 2e-5, 6e-4))


@pytest.fixture
def stated(tmp_path: Path) -> Callable[[str], PriorFile]:
    """Read a text as a prior file."""

    def make(text: str) -> PriorFile:
        path = tmp_path / "priors.toml"
        path.write_text(text)
        return read_priors(path)

    return make


Stated = Callable[[str], PriorFile]


def test_the_example_says_what_it_says(stated: Stated) -> None:
    own = priors_of("switching-failure")
    priors, statements = apply(stated(EXAMPLE), own, programming=CURRENT)
    assert [p.name for p in priors] == [p.name for p in own]
    by_name = {p.name: p for p in priors}

    def interval(name: str, probability: float) -> tuple[float, float]:
        low, high = norm.interval(probability, by_name[name].mean, by_name[name].sd)
        return float(low), float(high)

    near = {"rel": 1e-5}
    assert np.exp(interval("ln_r_hrs", 0.8)) == pytest.approx((50e3, 200e3), **near)
    assert np.exp(interval("ln_sd_hrs", PROBABILITY)) == pytest.approx((0.3, 0.7), **near)
    for name, expected in (("log10_set_floor", (1e-6, 1e-3)), ("log10_reset_floor", (1e-7, 1e-2))):
        odds = 10 ** np.array(interval(name, PROBABILITY))
        assert odds / (1 + odds) == pytest.approx(expected, rel=1e-4)
    assert (by_name["exponent"].mean, by_name["exponent"].sd) == (1.0, 0.1)
    assert by_name["ln_r_hrs"].source == "wafer 12 (priors.toml)"
    assert by_name["exponent"].source == "stated, no source given (priors.toml)"
    changed = {"ln_r_hrs", "ln_sd_hrs", "log10_set_floor", "log10_reset_floor", "exponent"}
    for before, after in zip(own, priors, strict=True):
        assert (before == after) == (before.name not in changed)
        assert before.meaning == after.meaning
    (statement,) = statements
    assert (statement.quantity, statement.at) == ("lrs_median", pytest.approx(1e-4))
    low, high = norm.interval(PROBABILITY, statement.mean, statement.sd)
    assert np.exp([low, high]) == pytest.approx([2e3, 8e3], rel=1e-5)


@given(
    st.floats(1e-3, 1e9),
    st.floats(1.001, 1e6),
    st.floats(0.02, 0.9999),
    st.sampled_from(["ohm", "kohm", "Mohm"]),
)
def test_bounds_come_back_in_every_unit(
    tmp_path_factory: pytest.TempPathFactory, low: float, ratio: float, p: float, unit: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "bounds.toml"
    path.write_text(
        f'[hrs_median]\nbetween = ["{low!r} {unit}", "{low * ratio!r} {unit}"]\nprobability = {p}'
    )
    (entry,) = read_priors(path).entries
    bounds = norm.interval(p, entry.mean, entry.sd)
    expected = np.log([low * UNITS[unit][1], low * ratio * UNITS[unit][1]])
    np.testing.assert_allclose(bounds, expected, rtol=0, atol=1e-5 * np.log(ratio) + 1e-12)


def test_one_quantity_at_several_values(stated: Stated) -> None:
    text = """
    [[lrs_median]]
    between = ["4 kohm", "9 kohm"]
    at = "1.5 V"
    [[lrs_median]]
    between = ["2 kohm", "5 kohm"]
    at = "2500 mV"
    [[lrs_spread]]
    between = [0.05, 0.3]
    at = "1.5 V"
    """
    own = priors_of("lognormal", GATE)
    priors, statements = apply(stated(text), own, programming=GATE)
    assert priors == own
    assert [(s.quantity, s.at) for s in statements] == [
        ("lrs_median", 1.5),
        ("lrs_median", 2.5),
        ("lrs_spread", 1.5),
    ]
    assert statements[2].mean == pytest.approx(np.log(0.05 * 0.3) / 2)


def test_an_empty_file_changes_nothing(stated: Stated) -> None:
    own = priors_of("lognormal")
    assert apply(stated(""), own, programming=CURRENT) == (own, ())


def test_shifts_of_arrays_are_not_stated_but_their_spread(stated: Stated) -> None:
    arrays = (
        Prior("ln_sd_x_array", 0.0, 1.0, "what", "whence"),
        Prior("x_array", 0.0, 1.0, "what", "whence", size=2, dim="array", ln_sd="ln_sd_x_array"),
    )
    text = "[parameter.x_array]\nmean = 0.0\nsd = 2.0"
    with pytest.raises(PriorFileError, match=r"state that instead, as \[parameter.ln_sd_x_array"):
        apply(stated(text), arrays, programming=CURRENT)
    (spread, _), _ = apply(
        stated(text.replace("x_array", "ln_sd_x_array")), arrays, programming=CURRENT
    )
    assert spread.sd == 2.0


def test_a_vector_keeps_its_length(stated: Stated) -> None:
    vector = Prior("hrs_location_deviation", 0.0, 1.0, "what", "whence", size=8)
    text = "[parameter.hrs_location_deviation]\nbetween = [-1, 1]"
    ((changed,), _) = apply(stated(text), (vector,), programming=CURRENT)
    assert changed.size == 8
    assert changed.sd == pytest.approx(1 / norm.ppf(0.95), rel=1e-5)


BETWEEN = 'between = ["1 kohm", "2 kohm"]'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[hrs_media]", r"\[hrs_media\] is not known; use one of \[lrs_median\], .*\[parameter"),
        ("hrs_median = 3", r"\[hrs_median\] is not a table"),
        ("parameter = 3", r"write a table for each parameter"),
        ("[parameter]\nexponent = 3", r"write a table for each parameter"),
        (f"[hrs_median]\n{BETWEEN}\nsd = 3", r"sd is not known; known: between, probability, at"),
        ("[hrs_median]", r"\[hrs_median\]: between is missing; .*kohm"),
        ("[hrs_spread]", r"between is missing; write for example between = \[0.3, 0.7\]"),
        ("[hrs_spread]\nbetween = [0.3]", r"give two bounds"),
        ("[hrs_spread]\nbetween = 0.3", r"give two bounds"),
        ('[hrs_median]\nbetween = ["1 kohm", "2 Kohm"]', r"'2 Kohm': unit 'Kohm' is not known"),
        ('[hrs_median]\nbetween = ["1 kohm", "2"]', r"'2' is not a number with its unit"),
        ("[hrs_median]\nbetween = [1000, 2000]", r"1000 is not a number with its unit; .*50 kohm"),
        (
            '[hrs_median]\nbetween = ["1 2 kohm", "3 kohm"]',
            r"'1 2 kohm' is not a number with its unit",
        ),
        ('[hrs_median]\nbetween = ["1 uA", "2 uA"]', r"'1 uA' is not a resistance"),
        ('[hrs_median]\nbetween = ["nan kohm", "2 kohm"]', r"'nan kohm' is not a number"),
        ('[hrs_median]\nbetween = ["-1 kohm", "2 kohm"]', r"'-1 kohm' must be positive"),
        ('[hrs_median]\nbetween = ["2 kohm", "1 kohm"]', r"lower bound first"),
        ('[hrs_median]\nbetween = ["2 kohm", "2 kohm"]', r"lower bound first"),
        ("[hrs_spread]\nbetween = [0.0, 0.7]", r"0.0 must be positive"),
        ('[hrs_spread]\nbetween = ["0.1", "0.7"]', r"'0.1' is not a finite number"),
        ("[hrs_spread]\nbetween = [true, 2]", r"True is not a finite number"),
        ("[hrs_spread]\nbetween = [0.1, inf]", r"inf is not a finite number"),
        ("[set_failure]\nbetween = [0, 0.1]", r"0.0 is not a probability between 0 and 1"),
        ("[set_failure]\nbetween = [0.1, 1]", r"1.0 is not a probability between 0 and 1"),
        (f"[hrs_median]\n{BETWEEN}\nprobability = 1", r"probability is 1.0; it must lie between"),
        (f"[hrs_median]\n{BETWEEN}\nprobability = 0", r"probability is 0.0; .* for example 0.9"),
        (f"[hrs_median]\n{BETWEEN}\nprobability = 90", r"probability is 90.0; it must lie"),
        (f"[hrs_median]\n{BETWEEN}\nsource = 3", r"source is 3; write a text"),
        (f'[lrs_median]\n{BETWEEN}\nat = "3 furlong"', r"at: '3 furlong': unit 'furlong'"),
        (
            '[set_failure]\nbetween = [1e-6, 1e-3]\nat = "1 V"',
            r"set_failure is one number for all programming values; leave out at",
        ),
        ("[parameter.exponent]\nmean = 1", r"\[parameter.exponent\]: give mean and sd, or between"),
        ("[parameter.exponent]\nmean = 1\nsd = 0", r"sd is 0.0; it must be positive"),
        ("[parameter.exponent]\nmean = 1\nsd = nan", r"sd: nan is not a finite number"),
        ("[parameter.exponent]\nmean = 1\nat = 2", r"at is not known; known: mean, sd"),
        (
            "[parameter.exponent]\nmean = 1\nsd = 1\nbetween = [0, 1]",
            r"give mean and sd, or between, not both",
        ),
        ("[parameter.exponent]\nbetween = [1, 0]", r"lower bound first"),
        (
            f"[hrs_median]\n{BETWEEN}\n[parameter.ln_r_hrs]\nmean = 11\nsd = 1",
            r"\[hrs_median\] and \[parameter.ln_r_hrs\] state the same thing; keep one",
        ),
        (
            f'[[lrs_median]]\n{BETWEEN}\nat = "1 V"\n[[lrs_median]]\n{BETWEEN}\nat = "1000 mV"',
            r"\[lrs_median\] and \[lrs_median\] state the same thing",
        ),
        (
            f'[[hrs_median]]\n{BETWEEN}\nat = "1 V"\n[[hrs_median]]\n{BETWEEN}',
            r"\[hrs_median\] is stated with and without at; keep one way",
        ),
        ("[hrs_median", r"not a TOML file"),
    ],
)
def test_wrong_files_are_refused(stated: Stated, text: str, message: str) -> None:
    with pytest.raises(PriorFileError, match=f"priors.toml: .*{message}"):
        stated(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PriorFileError, match="none.toml: no such file"):
        read_priors(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[hrs_median]\nsource = "\xe9"')
    with pytest.raises(PriorFileError, match="latin.toml: not a TOML file"):
        read_priors(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[parameter.no_such]\nmean = 1\nsd = 1",
            r"\[parameter.no_such\]: this model has no such parameter. Its parameters: .*ln_r_hrs",
        ),
        (
            "[set_failure]\nbetween = [1e-6, 1e-3]",
            r"\[set_failure\] sets log10_set_floor, and this model has no such parameter. Its",
        ),
        (
            f"[lrs_median]\n{BETWEEN}",
            r"\[lrs_median\] sets ln_r_lrs, and .*State it at a programming value \(at = ",
        ),
        (
            f'[lrs_median]\n{BETWEEN}\nat = "1.5 V"',
            r"at a value in V, but the programming variable \(SET compliance current\) is in A",
        ),
        (f"[lrs_median]\n{BETWEEN}\nat = 1.5", r"at a value in 1, but .* is in A"),
        (f'[lrs_median]\n{BETWEEN}\nat = "0 uA"', r"at is 0.0 A; it must be positive"),
    ],
)
def test_what_does_not_fit_the_family_is_refused(stated: Stated, text: str, message: str) -> None:
    with pytest.raises(PriorFileError, match=message):
        apply(stated(text), priors_of("lognormal"), programming=CURRENT)


def test_one_file_serves_several_families(stated: Stated) -> None:
    file = stated(EXAMPLE)
    kept, missing = without_missing(file, priors_of("lognormal"))
    assert [e.name for e in missing] == ["set_failure", "reset_failure"]
    assert len(kept.entries) + len(missing) == len(file.entries)
    apply(kept, priors_of("lognormal"), programming=CURRENT)
    assert without_missing(file, priors_of("switching-failure")) == (file, ())


def test_every_direct_quantity_names_a_parameter_that_exists() -> None:
    # one condition has parameters of its own for the LRS
    frames = [Frame(CURRENT, 2e-5, 6e-4), Frame(CURRENT, 1e-4, 1e-4)]
    names = {p.name for f in frames for p in FAMILIES["switching-failure"].priors(f)}
    assert {q.parameter for q in QUANTITIES.values()} <= names


def test_statements_are_checked() -> None:
    statement = Statement("lrs_median", 1e-4, 8.0, 0.4, "whence")
    with pytest.raises(ValueError, match="only lrs_median, lrs_spread, hrs_median, hrs_spread"):
        dataclasses.replace(statement, quantity="set_failure")
    with pytest.raises(ValueError, match="sd is 0.0; it must be positive"):
        dataclasses.replace(statement, sd=0.0)
