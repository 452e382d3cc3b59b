"""Parameters at places: draws and variables of a PyMC model alike, and the gradient."""

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

from devicefit.likelihood.at_places import (
    AtPlaces,
    everywhere,
    group_sums,
    taken,
    variables_at_places,
)
from devicefit.likelihood.draws import ARRAY, NUMBER, TERM, draws_at_places
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.graph_code import WITHOUT_LOCK

RNG = np.random.default_rng(4)
BASIS, INDEX = RNG.normal(size=(3, 5)), np.array([1, 0, 1, 1, 0])
KINDS = {"number": NUMBER, "terms": TERM, "effects": ARRAY, "other": NUMBER}
VALUES: dict[str, FloatArray] = {
    "number": np.array(0.7),
    "terms": RNG.normal(size=3),
    "effects": RNG.normal(size=2),
    "other": np.array(-1.2),
}


def by_hand() -> list[FloatArray]:
    """Each value at each place, one after the other."""
    terms, effects = VALUES["terms"], VALUES["effects"]
    return [
        np.full(5, 0.7),
        np.array([sum(terms[t] * BASIS[t, j] for t in range(3)) for j in range(5)]),
        np.array([effects[1], effects[0], effects[1], effects[1], effects[0]]),
        np.full(5, -1.2),
    ]


def variables() -> tuple[list[Any], list[Any]]:
    """Variables of the parameters, and these at the places."""
    inputs = [pt.vector(dtype="float64") if v.ndim else pt.dscalar() for v in VALUES.values()]
    named = dict(zip(VALUES, inputs, strict=True))
    return inputs, list(variables_at_places(named, KINDS, BASIS, INDEX).values())


def of_slopes(*values: Any) -> Any:
    """A function of some of the vectors that has all second derivatives."""
    named = dict(zip(VALUES, values, strict=True))
    number, terms, effects, _ = variables_at_places(named, KINDS, BASIS, INDEX).values()
    return (pt.exp(0.3 * number) * terms**2 * pt.sin(effects)).sum()


# the Python of the operations, and their machine code
@pytest.mark.parametrize("mode", ["FAST_COMPILE", WITHOUT_LOCK], ids=["python", "machine code"])
def test_values_and_slopes(mode: Any) -> None:
    inputs, vectors = variables()
    weights = np.random.default_rng(5).normal(size=(4, 5))
    total = sum((w * v).sum() for w, v in zip(weights, vectors, strict=True))
    slopes: Any = pytensor.grad(total, inputs)
    function = pytensor.function(inputs, [*vectors, *slopes], mode=mode)
    found = function(*VALUES.values())
    for one, other in zip(found[:4], by_hand(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)
    groups = [weights[2, INDEX == a].sum() for a in (0, 1)]
    expected = [weights[0].sum(), BASIS @ weights[1], groups, weights[3].sum()]
    for one, other in zip(found[4:], expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_draws_are_at_places_as_variables_are() -> None:
    rng = np.random.default_rng(6)
    draws = {k: rng.normal(size=(2, 3, *v.shape)) for k, v in VALUES.items()}
    found = draws_at_places(draws, KINDS, BASIS, INDEX)
    op = AtPlaces(tuple(KINDS.values()))
    for i, j in np.ndindex(2, 3):
        outputs: list[Any] = [[None] for _ in KINDS]
        one = [np.atleast_1d(d[i, j]) for d in draws.values()]
        ends = np.cumsum([len(v) for v in one])
        op.perform(None, [np.concatenate(one), ends, BASIS, INDEX], outputs)  # type: ignore[arg-type]
        for name, (output,) in zip(KINDS, outputs, strict=True):
            own = np.broadcast_to(found[name], (2, 3, 5))[i, j]
            np.testing.assert_allclose(output, own, rtol=1e-14, err_msg=name)


def test_gradient_also_of_the_gradient() -> None:
    rng = np.random.default_rng(7)
    verify_grad(of_slopes, list(VALUES.values()), rng=rng, mode="FAST_COMPILE")

    def slope_along(*values: Any) -> Any:
        slopes: Any = pytensor.grad(of_slopes(*values), list(values))
        return sum(pt.sum(s**2) for s in slopes)

    verify_grad(slope_along, list(VALUES.values()), rng=rng, mode="FAST_COMPILE")


def test_values_of_indices_and_their_sums() -> None:
    values, sums, number = pt.dvector(), pt.dvector(), pt.dscalar()
    outputs = [
        taken(values, INDEX),
        group_sums(sums, INDEX, pt.zeros(4)),
        everywhere({"a": number}, INDEX)["a"],
    ]
    function = pytensor.function([values, sums, number], outputs, mode="FAST_COMPILE")
    found = function([3.0, 5.0], np.arange(5.0), 2.0)
    assert found[0].tolist() == [5.0, 3.0, 5.0, 5.0, 3.0]
    # of the length that was asked for, also where there is nothing
    assert found[1].tolist() == [5.0, 5.0, 0.0, 0.0]
    assert found[2].tolist() == [2.0] * 5
