"""Files of errors: what they mean, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnn import Flips, FoldedNetwork, LineFaults, StuckAt, TransientFlips
from bnn.errors.array_mapping import ArrayShape
from bnn.errors.chips import draw_chip
from bnn.errors.errors import Errors
from bnn.errors.expected_errors import expected_wrong_share
from bnn.errors.files import ErrorFileError, read_error_cases

ALL = """
protected = ["output"]

[[case]]
name = "everything"
flips = { zero_to_one = 1e-3, one_to_zero = 0 }
stuck_at = { zero = 0.01, one = 0.02, exact = true }
misread = { ber = 1e-4 }
protected = ["hidden_2"]

[[case.lines]]
along = "row"
rate = 0.01

[[case.lines]]
along = "block"
rate = 0.02
density = 0.5
stuck = 0
array = [512, 256]
block = [64, 32]
layers = ["hidden_1"]

[[case]]
[[case.flips]]
ber = 0.1
layers = ["hidden_1"]
[[case.flips]]
ber = 0.2
layers = ["hidden_2"]

[[case]]
name = "nothing"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(text: str) -> Path:
        path = tmp_path / "errors.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_every_kind_is_read(write: Callable[[str], Path]) -> None:
    found = read_error_cases(write(ALL))
    assert found.names == ("everything", "case 2", "nothing")
    first = frozenset({"hidden_1"})
    assert found.errors[0] == Errors(
        persistent=(
            LineFaults("row", 0.01),
            LineFaults(
                "block", 0.02, 0.5, 0, ArrayShape(512, 256), ArrayShape(64, 32), layers=first
            ),
            StuckAt(0.01, 0.02, exact=True),
            Flips(1e-3, 0.0),
        ),
        transient=(TransientFlips(1e-4),),
        protected=frozenset({"output", "hidden_2"}),
    )
    assert found.errors[1] == Errors(
        persistent=(
            Flips.symmetric(0.1, first),
            Flips.symmetric(0.2, frozenset({"hidden_2"})),
        ),
        protected=frozenset({"output"}),
    )
    assert found.errors[2] == Errors(protected=frozenset({"output"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"errors.toml: there is no case; write a table \[\[case\]\]"),
        ("case = 3", "there is no case"),
        ("[case]", "there is no case"),
        ("[[case]", "not a TOML file"),
        ("[[cases]]", "'cases' is not known; known: protected, case"),
        ("[[case]]\nflip = 1", "case 'case 1': 'flip' is not known; known: name, lines, stuck_at"),
        ("[[case]]\nflips = 0.1", r"flips is 0.1; write a table, such as \[\[case.flips\]\]"),
        ("[[case]]\nflips = { rate = 0.1 }", "flips: 'rate' is not known; known: ber, zero_to_one"),
        ("[[case]]\nflips = { zero_to_one = 0.1 }", "flips: one_to_zero is missing"),
        ("[[case]]\nflips = { ber = 0.1, zero_to_one = 0.1 }", "leave it out, or the other two"),
        ('[[case]]\nflips = { ber = "1 %" }', "ber is '1 %'; give a fraction"),
        ("[[case]]\nflips = { ber = true }", "ber is True; give a fraction"),
        ("[[case]]\nflips = { ber = 2 }", "flips: ber is 2; give a fraction between 0 and 1"),
        ("[[case]]\nflips = { ber = 1.5 }", "flips: ber is 1.5; give a fraction"),
        ("[[case]]\nflips = { ber = -1e-9 }", "flips: ber is -1e-09; give a fraction"),
        ("[[case]]\nmisread = { ber = 1.5 }", "misread: ber is 1.5; give a fraction"),
        ("[[case]]\nflips = { ber = [0.1] }", r"flips: ber is \[0.1\]; give a fraction"),
        ("[[case]]\nflips = { ber = 1" + 400 * "0" + " }", "flips: ber is 1000.*; give a frac"),
        ("[[case]]\nlines = { along = 'row', rate = 2 }", "lines: rate is 2; give a fraction"),
        ("[[case]]\nx = " + 100_000 * "[", "not a TOML file of errors .*nested too deeply"),
        ("[[case]]\nflips = { ber = nan }", "flips: ber is nan; give a fraction"),
        ("[[case]]\nflips = { ber = 0.1, layers = [] }", "layers is empty"),
        ("[[case]]\nflips = { ber = 0.1, layers = 'a' }", "layers is 'a'; give names of layers"),
        ("[[case]]\nstuck_at = { zero = 0.6, one = 0.5 }", "stuck_at: .* add up to at most 1"),
        ("[[case]]\nstuck_at = { zero = 0, one = 0, exact = 1 }", "write true or false"),
        ("[[case]]\nlines = { rate = 0.1 }", "lines: along must be one of row, column, block"),
        ("[[case]]\nlines = { along = 'row', rate = 0.1, stuck = 2 }", 'write 0, 1 or "opposite"'),
        (
            "[[case]]\nlines = { along = 'row', rate = 0.1, array = 8 }",
            "array is 8; give word lines",
        ),
        ("[[case]]\nlines = { along = 'row', rate = 0.1, array = [8, 0] }", "array: columns of an"),
        ("[[case]]\nlines = { along = 'block', rate = 0.1 }", "needs block"),
        ("[[case]]\nmisread = { }", "misread: ber is missing"),
        ("[[case]]\nprotected = 'output'", "protected is 'output'; give names of layers"),
        ("[[case]]\nname = 3", "name of case 1 is 3; give a text"),
        ("[[case]]\nname = 'a'\n[[case]]\nname = 'a'", "two cases have the name 'a'"),
        ("[[case]]\nflips = [{ ber = 0.1 }, { ber = 0.2 }]", "case 'case 1': a layer takes one"),
        (
            "protected = ['output']\n[[case]]\nflips = { ber = 0.1, layers = ['output'] }",
            "layer 'output' is protected but named by",
        ),
    ],
)
def test_wrong_files_are_refused(text: str, message: str, write: Callable[[str], Path]) -> None:
    with pytest.raises(ErrorFileError, match=message):
        read_error_cases(write(text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ErrorFileError, match=r"none.toml: no such file; see docs"):
        read_error_cases(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "errors",
    [
        Errors((Flips(0.3, 0.05),)),
        Errors((StuckAt(0.2, 0.1),)),
        Errors((StuckAt(0.2, 0.1, exact=True), Flips(0.0, 0.2))),
        Errors(
            (
                LineFaults("row", 0.2, 0.5),
                LineFaults("column", 0.3, stuck=1, layers=frozenset({"hidden_1"})),
                StuckAt(0.1, 0.3),
                Flips(0.1, 0.2),
            ),
            protected=frozenset({"output"}),
        ),
        Errors(transient=(TransientFlips(0.5),)),
    ],
)
def test_the_expected_share_is_the_mean_over_chips(
    errors: Errors, random_network: Callable[..., FoldedNetwork]
) -> None:
    network = random_network((12, 40, 4), seed=3)
    bits, chips = sum(network.weight_bits.values()), 2000
    share = np.array(
        [
            sum(map(len, draw_chip(network, errors, seed=1, chip=chip).positions.values())) / bits
            for chip in range(chips)
        ]
    )
    # 5 means, z = 4.3: 0.0001 in all
    error = share.std(ddof=1) / np.sqrt(chips)
    assert abs(share.mean() - expected_wrong_share(network, errors)) <= 4.3 * error


def test_the_example_of_the_documentation_is_read(write: Callable[[str], Path]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "errors.md").read_text(encoding="utf-8")
    found = read_error_cases(write(text.split("```toml\n")[1].split("```")[0]))
    assert found.names[1] == "stuck cells and read errors"
    assert found.errors[1].misread_rate("hidden_1") == 1e-4
    assert len(found.errors[2].persistent) == 3
