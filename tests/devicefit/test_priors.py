import numpy as np
import pytest

from devicefit.priors import Prior, core_priors, failure_priors, prior_record, sample_priors
from devicefit.programming import Programming

CURRENT, GATE = Programming("i", "A"), Programming("v", "V")


@pytest.mark.parametrize("programming", [CURRENT, GATE, Programming("t", "s")])
def test_names_are_unique_and_every_prior_tells_its_source(programming: Programming) -> None:
    priors = (*core_priors(programming), *failure_priors(programming))
    assert len({p.name for p in priors}) == len(priors)
    for prior in priors:
        assert prior.meaning
        assert prior.source


def test_a_current_has_its_own_law() -> None:
    names = {p.name for p in core_priors(CURRENT)}
    assert {"ln_v_c", "exponent", "ln_r_series"} <= names
    assert "onset" not in names
    assert "onset" in {p.name for p in core_priors(GATE)}
    assert "set_centre" not in {p.name for p in failure_priors(GATE)}


@pytest.mark.parametrize("sd", [0.0, -1.0, np.nan])
def test_sd_is_positive(sd: float) -> None:
    with pytest.raises(ValueError, match="prior place: sd is .*; it must be positive"):
        Prior("place", 0.0, sd, "", "")


def test_samples_follow_the_priors() -> None:
    priors = core_priors(CURRENT)
    draws = sample_priors(priors, draws=10_000, rng=np.random.default_rng(3))
    for prior in priors:
        values = draws[prior.name]
        assert values.shape == (1, 10_000)
        # 20 checks at 4.5 standard errors: 1.4e-4 that a correct one fails
        assert abs(values.mean() - prior.mean) < 4.5 * prior.sd / 100
        assert abs(values.std() / prior.sd - 1) < 4.5 / np.sqrt(2 * 10_000)
    again = sample_priors(priors, draws=10_000, rng=np.random.default_rng(3))
    assert all(np.array_equal(draws[name], again[name]) for name in draws)


def test_record_is_plain() -> None:
    prior = Prior("a", 1.0, 2.0, "what", "whence")
    assert prior_record((prior,)) == [
        {"name": "a", "mean": 1.0, "sd": 2.0, "meaning": "what", "source": "whence"}
    ]
