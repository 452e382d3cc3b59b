import importlib.metadata

import numpy as np
import pytest
import xarray as xr

from devicefit.backend import SamplerOptions, bulk_ess, r_hat, tail_ess, versions


@pytest.mark.parametrize("name", ["chains", "draws", "warmup", "cores"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_positive(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least 1"):
        SamplerOptions(**{name: value})


@pytest.mark.parametrize("value", [0.4, 1.0, 95.0, np.nan])
def test_target_accept_is_a_fraction(value: float) -> None:
    with pytest.raises(ValueError, match="target_accept is .*; use 0.5 to below 1"):
        SamplerOptions(target_accept=value)


def chains(**columns: np.ndarray) -> xr.Dataset:
    return xr.Dataset({k: (("chain", "draw"), v) for k, v in columns.items()})


def test_diagnostics_tell_chains_that_agree_from_chains_that_do_not() -> None:
    rng = np.random.default_rng(1)
    good = rng.standard_normal((4, 500))
    apart = good + np.array([[0.0], [0.0], [0.0], [3.0]])
    sticky = np.repeat(rng.standard_normal((4, 50)), 10, axis=1)
    posterior = chains(good=good, apart=apart, sticky=sticky)
    assert r_hat(posterior)["good"] < 1.01 < r_hat(posterior)["apart"]
    # 2000 independent draws, and ten equal ones in a row
    assert bulk_ess(posterior)["good"] == pytest.approx(2000, rel=0.15)
    assert bulk_ess(posterior)["sticky"] == pytest.approx(200, rel=0.3)
    assert tail_ess(posterior)["sticky"] < 600 < tail_ess(posterior)["good"]
    assert bulk_ess(posterior)["apart"] < 20


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["pymc"] == importlib.metadata.version("pymc")
    assert {"nutpie", "arviz", "numpy", "scipy", "torch"} <= set(found)
