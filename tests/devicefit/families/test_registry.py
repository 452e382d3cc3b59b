"""Families by name, a user's own page among them: the one of the documentation."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from devicefit.compression.compression import compress
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import fit
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import sample_priors
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements
from reliability.cli.inputs import chosen_models

PAGE = re.search(
    r"```python\n(.*?)```", Path(__file__).parents[3].joinpath("docs/families.md").read_text(), re.S
)
NAME = "my_family:WEAK"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAGE is not None
    (tmp_path / "my_family.py").write_text(PAGE[1])
    (tmp_path / "other.py").write_text("WEAK = 1\n")
    monkeypatch.chdir(tmp_path)
    for module in ("my_family", "other"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_the_documented_page_is_a_family_that_can_be_fitted() -> None:
    assert PAGE is not None
    assert len(PAGE[1].splitlines()) <= 60
    compressed = compress(reference_measurements(plan=ReferencePlan()))
    options = SamplerOptions(chains=2, draws=50, warmup=150)
    posterior = fit(compressed, family=NAME, options=options)
    assert {"logit_weak", "ln_depth", "ln_r_hrs"} <= set(posterior.draws.data_vars)
    law = posterior.mixtures(compressed.conditions)["HRS"]
    # by hand, at the first draw: the weak part lies exp(ln_depth) sd below
    depth = (law.location[0] - law.location[1]) / law.scale[0]
    wanted = np.exp(posterior.draws["ln_depth"].values)[..., None]
    assert depth == pytest.approx(np.broadcast_to(wanted, depth.shape))
    # the simulated HRS is lognormal with a sd of 0.5: what fits it has no weak part of note
    assert np.exp(law.ln_weight[1]).mean() < 0.1


def test_laws_of_draws_are_normalised() -> None:
    frame = Frame.of(compress(reference_measurements()))
    draws = sample_priors(FAMILIES[NAME].priors(frame), draws=3, rng=np.random.default_rng(1))
    laws = FAMILIES[NAME].mixtures(draws, frame, frame.places(np.array([3e-5, 2e-4])))
    assert np.exp(laws["HRS"].ln_weight).sum(axis=0) == pytest.approx(1.0)


def test_command_line_takes_a_page() -> None:
    assert chosen_models([NAME, "lognormal"]) == ((NAME, "lognormal"), False)
    with pytest.raises(ValueError, match="lognorm.*known:.*module:NAME"):
        chosen_models(["lognorm"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:WEAK", "module nowhere cannot be imported.*PYTHONPATH"),
        ("other:WEAK", "is int, not a devicefit"),
        ("my_family:STRONG", "is NoneType, not a devicefit"),
    ],
)
def test_what_is_wrong_with_a_page_is_said(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FAMILIES[name]


@pytest.mark.parametrize("name", ["../my_family:WEAK", "my_family", "my_family:WEAK.x", ""])
def test_other_names_are_unknown(name: str) -> None:
    assert name not in FAMILIES
