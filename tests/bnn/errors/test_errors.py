import dataclasses
import json
import re

import numpy as np
import pytest

from bnn.errors.array_mapping import ArrayShape
from bnn.errors.errors import Errors, Flips, LineFaults, StuckAt, TransientFlips, check_ber
from bnn.errors.flips import DRAWING

BAD_FRACTIONS = [-1e-9, 1.0001, float("nan"), float("inf"), "0.1", None]


@pytest.mark.parametrize("rate", BAD_FRACTIONS)
def test_rates_outside_zero_to_one_are_refused(rate: float) -> None:
    def refused(name: str, kind: str) -> pytest.RaisesExc:
        message = f"{name} of {kind} must be a fraction between 0 and 1, got {rate!r}"
        return pytest.raises(ValueError, match=re.escape(message))

    with refused("zero_to_one", "Flips"):
        Flips(rate, 0.1)
    with refused("one_to_zero", "Flips"):
        Flips(0.1, rate)
    with refused("zero_to_one", "Flips"):
        Flips.symmetric(rate)
    with refused("zero", "StuckAt"):
        StuckAt(rate, 0.0)
    with refused("one", "StuckAt"):
        StuckAt(0.0, rate)
    with refused("rate", "LineFaults"):
        LineFaults("row", rate)
    with refused("density", "LineFaults"):
        LineFaults("row", 0.1, density=rate)
    with refused("ber", "TransientFlips"):
        TransientFlips(rate)


@pytest.mark.parametrize("ber", BAD_FRACTIONS[:4])
def test_check_ber_refuses_what_is_no_fraction(ber: float) -> None:
    with pytest.raises(ValueError, match="ber must be a fraction between 0 and 1"):
        check_ber(ber)


def test_edges_are_accepted() -> None:
    assert Flips.symmetric(0.25) == Flips(0.25, 0.25)
    assert Flips.symmetric(1, frozenset({"a"})) == Flips(1.0, 1.0, frozenset({"a"}))
    assert StuckAt(0.0, 1.0).one == 1.0
    assert LineFaults("column", 1.0, density=0.0).stuck is None
    assert Errors() == Errors((), (), frozenset())


def test_shares_of_stuck_cells_are_disjoint() -> None:
    assert StuckAt(0.25, 0.75).zero == 0.25
    with pytest.raises(ValueError, match=re.escape("at most 1, got 0.5 + 0.75")):
        StuckAt(0.5, 0.75)


@pytest.mark.parametrize("stuck", [2, -1, "0"])
def test_lines_are_stuck_at_a_bit_or_invert(stuck: int) -> None:
    with pytest.raises(ValueError, match="stuck must be None, 0 or 1"):
        LineFaults("row", 0.1, stuck=stuck)


def test_line_faults_check_their_lines() -> None:
    with pytest.raises(ValueError, match="along must be one of row, column, block"):
        LineFaults("rows", 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs block"):
        LineFaults("block", 0.1)
    with pytest.raises(ValueError, match="array must be an ArrayShape"):
        LineFaults("row", 0.1, array=(8, 8))  # type: ignore[arg-type]


NOT_NAMES = ["output", frozenset({1}), {"output"}]


@pytest.mark.parametrize("names", NOT_NAMES)
def test_names_of_layers_are_a_frozenset(names: frozenset[str]) -> None:
    with pytest.raises(ValueError, match="protected must be a frozenset of layer names"):
        Errors(protected=names)
    for make in (
        lambda: Flips(0.1, 0.1, names),
        lambda: StuckAt(0.1, 0.1, names),
        lambda: LineFaults("row", 0.1, layers=names),
        lambda: TransientFlips(0.1, names),
    ):
        with pytest.raises(ValueError, match="layers must be a frozenset of layer names"):
            make()


def test_an_error_on_no_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="layers of Flips must name at least one layer"):
        Flips(0.1, 0.1, frozenset())


def test_persistent_and_transient_do_not_mix() -> None:
    with pytest.raises(ValueError, match="at index 1; it belongs in transient"):
        Errors((Flips.symmetric(0.1), TransientFlips(0.1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at index 0; it belongs in persistent"):
        Errors(transient=(Flips.symmetric(0.1),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="persistent errors are Flips, StuckAt, LineFaults, got 0"):
        Errors((0.1,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="persistent must be a tuple of Flips"):
        Errors(Flips.symmetric(0.1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="transient must be a tuple of TransientFlips"):
        Errors(transient=[TransientFlips(0.1)])  # type: ignore[arg-type]


FIRST, LAST = frozenset({"hidden_1"}), frozenset({"output"})


def test_a_layer_takes_one_value_of_each_kind() -> None:
    Errors((Flips.symmetric(0.1, FIRST), Flips.symmetric(0.2, LAST), StuckAt(0.1, 0.1)))
    Errors((LineFaults("row", 0.1), LineFaults("column", 0.1)))
    for pair in (
        (Flips.symmetric(0.1), Flips.symmetric(0.2, LAST)),
        (StuckAt(0.1, 0.0, FIRST), StuckAt(0.0, 0.1, FIRST | LAST)),
        (LineFaults("row", 0.1), LineFaults("row", 0.2)),
    ):
        with pytest.raises(ValueError, match="a layer takes one value of each kind"):
            Errors(pair)
    with pytest.raises(ValueError, match="a layer takes one value of each kind"):
        Errors(transient=(TransientFlips(0.1), TransientFlips(0.2)))


def test_a_protected_layer_has_no_errors() -> None:
    errors = Errors((Flips.symmetric(0.1),), (TransientFlips(0.2),), protected=LAST)
    assert errors.on_layer("output") == ()
    assert errors.on_layer("hidden_1") == (Flips.symmetric(0.1),)
    assert (errors.misread_rate("output"), errors.misread_rate("hidden_1")) == (0.0, 0.2)
    with pytest.raises(ValueError, match="layer 'output' is protected but named by Flips"):
        Errors((Flips.symmetric(0.1, LAST),), protected=LAST)


def test_errors_find_their_layers_in_order() -> None:
    stuck, flips = StuckAt(0.1, 0.0), Flips.symmetric(0.1, FIRST)
    errors = Errors((stuck, flips), (TransientFlips(0.3, LAST),), frozenset({"hidden_2"}))
    assert errors.on_layer("hidden_1") == (stuck, flips)
    assert errors.on_layer("output") == (stuck,)
    assert (errors.misread_rate("hidden_1"), errors.misread_rate("output")) == (0.0, 0.3)
    assert errors.layer_names() == {"hidden_1", "hidden_2", "output"}


FULL = Errors(
    persistent=(
        LineFaults("block", 0.1, 0.5, 1, ArrayShape(64, 32), ArrayShape(8, 4), FIRST | LAST),
        StuckAt(0.01, 0.02, exact=True),
        Flips(0.1, 0.2),
    ),
    transient=(TransientFlips(1e-4),),
    protected=frozenset({"hidden_3", "hidden_2"}),
)


def test_the_record_is_plain_and_complete() -> None:
    array = ("ArrayShape", ("rows", 64), ("columns", 32))
    block = ("ArrayShape", ("rows", 8), ("columns", 4))
    lines = (("along", "block"), ("rate", 0.1), ("density", 0.5), ("stuck", 1), ("array", array))
    lines = ("LineFaults", *lines, ("block", block), ("layers", ("hidden_1", "output")))
    stuck = ("StuckAt", ("zero", 0.01), ("one", 0.02), ("layers", None), ("exact", True))
    flips = ("Flips", ("zero_to_one", 0.1), ("one_to_zero", 0.2), ("layers", None))
    assert FULL.record() == (
        ("persistent", (lines, stuck, flips)),
        ("transient", (("TransientFlips", ("ber", 1e-4), ("layers", None)),)),
        ("protected", ("hidden_2", "hidden_3")),
        ("always exact", ("thresholds", "output affine")),
        ("drawing", DRAWING),
    )
    hash(FULL.record())


def test_equal_errors_have_equal_records_whatever_the_types_of_numbers() -> None:
    one = Errors((Flips(0, np.float64(1.0)),)).record()
    assert json.dumps(one) == json.dumps(Errors((Flips(0.0, 1),)).record())


def test_every_change_changes_the_record() -> None:
    records = {FULL.record()}
    for index, changes in [
        (0, {"rate": 0.2, "density": 0.4, "stuck": None, "array": ArrayShape(64, 64)}),
        (0, {"block": ArrayShape(4, 4), "layers": None}),
        (1, {"zero": 0.02, "one": 0.01, "exact": False, "layers": FIRST}),
        (2, {"zero_to_one": 0.3, "one_to_zero": 0.3, "layers": LAST}),
    ]:
        for name, value in changes.items():
            changed = list(FULL.persistent)
            changed[index] = dataclasses.replace(changed[index], **{name: value})
            records.add(dataclasses.replace(FULL, persistent=tuple(changed)).record())
    records.add(dataclasses.replace(FULL, persistent=FULL.persistent[::-1]).record())
    records.add(dataclasses.replace(FULL, transient=()).record())
    records.add(dataclasses.replace(FULL, protected=frozenset()).record())
    assert len(records) == 1 + 4 + 2 + 4 + 3 + 3
