"""A vector and its parts, one from the other, and their slopes."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

from devicefit.sampling.graph_code import WITHOUT_LOCK
from devicefit.sampling.parts import Parts, joined

IN_PYTHON = Mode(linker="py", optimizer=None)


def test_slope_by_the_vector_is_made_of_the_slopes_by_its_parts() -> None:
    """In Python; a part that is not used has slope zero."""
    vector, ends = pt.dvector(), pt.lvector()
    number, _, some = Parts((0, 0, 1))(vector, ends, return_list=True)
    slope = pytensor.grad(number**2 * some.sum(), vector)
    found = pytensor.function([vector, ends], slope, mode=IN_PYTHON)
    np.testing.assert_allclose(
        found(np.array([3.0, 5.0, 1.0, 2.0]), np.array([1, 2, 4])), [18.0, 0.0, 9.0, 9.0]
    )


@pytest.mark.parametrize("mode", [IN_PYTHON, WITHOUT_LOCK], ids=["python", "machine code"])
def test_parts_are_joined_and_get_their_slopes(mode: Mode) -> None:
    number, some, none, last = pt.dscalar(), pt.dvector(), pt.dvector(), pt.dscalar()
    parts = [number, some, none, last]
    vector, ends = joined(parts)
    slopes = pytensor.grad((vector**2).sum(), parts)
    function = pytensor.function(parts, [vector, ends, *slopes], mode=mode)
    found = function(3.0, np.array([1.0, 2.0]), np.array([]), 7.0)
    assert found[0].tolist() == [3.0, 1.0, 2.0, 7.0]
    assert found[1].tolist() == [1, 3, 3, 4]
    assert [np.asarray(s).tolist() for s in found[2:]] == [6.0, [2.0, 4.0], [], 14.0]
