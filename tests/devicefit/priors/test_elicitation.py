import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from devicefit.priors.elicitation import LARGEST_PROBABILITY, LEAST_PROBABILITY, normal_between


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-1e4, 1e4),
    st.floats(1e-3, 1e3),
    st.floats(LEAST_PROBABILITY, LARGEST_PROBABILITY),
)
def test_maximum_entropy_is_the_centred_normal(
    low: float, width: float, probability: float
) -> None:
    # closed form: the broadest normal with that probability inside is centred, and its sd is half
    # the width over the quantile of (1 + probability) / 2
    high = low + width
    mean, sd = normal_between(low, high, probability)
    assert mean == pytest.approx((low + high) / 2, rel=1e-12, abs=1e-12)
    assert sd == pytest.approx((high - low) / 2 / norm.ppf((1 + probability) / 2), rel=5e-6)


@pytest.mark.parametrize("shift", [-0.3, 0.1, 0.5])
def test_a_normal_that_is_not_centred_is_narrower(shift: float) -> None:
    # the claim that lets the centre be left to symmetry, against a search over sd alone
    sds = np.geomspace(0.05, 5.0, 20_000)
    inside = norm.cdf(1.0, shift, sds) - norm.cdf(-1.0, shift, sds)
    broadest = sds[inside >= 0.9].max()
    assert broadest < normal_between(-1.0, 1.0, 0.9)[1]


def test_preliz_comes_without_warnings_and_leaves_matplotlib_alone() -> None:
    code = (
        "import matplotlib\n"
        "from devicefit.priors.elicitation import normal_between\n"
        "import sys\n"
        "assert 'preliz' not in sys.modules\n"
        "before = dict(matplotlib.rcParams)\n"
        "normal_between(0.0, 1.0, 0.9)\n"
        "assert 'preliz' in sys.modules\n"
        "assert dict(matplotlib.rcParams) == before\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
