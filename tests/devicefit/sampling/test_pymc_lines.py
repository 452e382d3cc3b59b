"""What one line of PyMC has and the other has not, with stand-ins for both."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from devicefit.sampling.pymc_lines import differentiable, numbers_of


class _Second:
    """Base of operations of PyTensor 2."""

    def L_op(self) -> str:  # noqa: N802
        return "not given"


class _Third(_Second):
    """Base of operations of PyTensor 3."""

    def pullback(self) -> str:
        return "not given"


@pytest.mark.parametrize(("base", "name"), [(_Second, "L_op"), (_Third, "pullback")])
def test_slopes_have_the_name_that_their_line_calls(base: type, name: str) -> None:
    def slopes(self: Any) -> str:
        return "slopes"

    operation = differentiable(type("Operation", (base,), {"pullback": slopes}))
    assert getattr(operation(), name)() == "slopes"
    # PyTensor 3 warns of an operation that has the older name
    assert ("L_op" in vars(operation)) == (name == "L_op")


@pytest.mark.parametrize("container", [dict, xr.DataTree.from_dict])
def test_both_containers_of_draws_are_read(container: Any) -> None:
    """Numbers over chains and draws; names and what does not vary over draws are left out."""
    w = np.arange(12.0).reshape(2, 3, 2)
    group = xr.Dataset(
        {
            "w": (("chain", "draw", "n"), w),
            "chain_seed": ("chain", [1, 2]),
            "reason": (("chain", "draw"), np.full((2, 3), "none")),
        },
        coords={"chain": [4, 5]},
    )
    found = numbers_of(container({"posterior": group, "sample_stats": group}), "posterior")
    assert list(found.data_vars) == ["w"]
    np.testing.assert_array_equal(found["w"].values, w)
    np.testing.assert_array_equal(found["chain"].values, [0, 1])
