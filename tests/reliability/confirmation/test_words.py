"""What the verdict says of chips and arrays."""

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from devicefit.inputs.programming import Programming
from reliability.chips.arrays import ChipArrays
from reliability.chips.lots import Confirmation, Lot
from reliability.confirmation.words import array_line, confirmation_line
from reliability.decision.comparison import Design
from reliability.report.tables import confirmation_table

TWO = {"A": Lot(1.0, 2000, 1990), "B": Lot(1.0, 2000, 1921)}


@dataclass
class Stub:
    """A design as far as the words look at it."""

    confirmation: Confirmation | None
    network: str = "standard"
    scheme: str = "1T1R"


def line(names: tuple[str, ...], confirmation: Confirmation | None) -> str:
    return array_line(cast(Design, Stub(confirmation)), names)


def lots(fresh: Lot, arrays: ChipArrays) -> Confirmation:
    return Confirmation((), fresh, 0.95, arrays=arrays)


def test_without_array_id_all_cells_are_one_array() -> None:
    said = line(("",), None)
    assert "no array_id: all cells are taken as one array" in said
    assert "lie on one array (assumed, --arrays-per-chip)" in said
    assert "One array was measured, A;" in line(("A",), None)


def test_each_of_few_arrays_is_told_and_the_new_one_beside() -> None:
    found = replace(
        lots(Lot(1.0, 2000, 1921, TWO), ChipArrays(("A", "B"))), on_new=Lot(1.0, 2000, 1800)
    )
    said = line(("A", "B"), found)
    assert "A 1,990 of 2,000 (0.995, exact 95 % interval" in said
    assert "B 1,921 of 2,000 (0.961" in said
    assert "On a new array, drawn from the law between arrays: 0.900, exact" in said
    assert "rests on the prior of the spread between arrays, for fewer than 5 were" in said
    assert "on array B, that with the fewest" in confirmation_line(cast(Design, Stub(found)), "")


def test_with_many_arrays_the_new_one_leads() -> None:
    found = lots(Lot(1.0, 2000, 1910), ChipArrays(tuple("ABCDE"), new=True))
    leads = "the probability is that of a chip on a new array, drawn from the law between arrays"
    for said in (line(tuple("ABCDE"), found), line(tuple("ABCDE"), None)):
        assert leads in said
        assert "prior" not in said
    on_four = lots(Lot(1.0, 2000, 1910), ChipArrays(tuple("ABCDE"), 4, new=True))
    assert "that of a chip on 4 new arrays, drawn" in line(tuple("ABCDE"), on_four)
    assert "fewest" not in confirmation_line(cast(Design, Stub(found)), "")


def test_several_arrays_without_chips_or_with_chips_on_several() -> None:
    assert "on the array with the fewest good ones" in line(("A", "B"), None)
    found = lots(Lot(1.0, 2000, 1990), ChipArrays(("A", "B"), 4))
    assert "lie on 4 arrays (assumed" in line(("A", "B"), found)


@pytest.mark.parametrize(
    ("fresh", "arrays", "roles"),
    [
        (Lot(1.0, 10, 9), ChipArrays(), ["fresh, stated"]),
        (
            Lot(1.0, 2000, 1921, TWO),
            ChipArrays(("A", "B")),
            [
                "fresh, stated: array with the fewest",
                "fresh, array A",
                "fresh, array B",
                "a new array, by the prior of the spread",
            ],
        ),
    ],
)
def test_the_table_has_a_row_for_each_array(
    fresh: Lot, arrays: ChipArrays, roles: list[str]
) -> None:
    record: dict[str, Any] = {
        "network": "standard", "scheme": "1T1R",
        **replace(lots(fresh, arrays), on_new=fresh if fresh.arrays else None).record(),
    }  # fmt: skip
    table = confirmation_table([record], Programming("gate voltage", "V"))
    assert table is not None
    assert [row[2] for row in table.rows] == roles
