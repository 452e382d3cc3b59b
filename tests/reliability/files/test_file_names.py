"""File names from names that others wrote."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliability.files.file_names import LONGEST, file_stems


def test_usual_names_lose_commas_and_spaces_only() -> None:
    names = ["standard", "trained for errors", "standard, thresholds calibrated per chip",
             "margin loss (BER 0.04, margin 0.5)", "imported, hidden_1 x 3"]  # fmt: skip
    assert list(file_stems(names).values()) == [
        "standard",
        "trained-for-errors",
        "standard-thresholds-calibrated-per-chip",
        "margin-loss-(BER-0.04-margin-0.5)",
        "imported-hidden_1-x-3",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../../outside/victim", "/etc/passwd", "..", ".", "", " ", ".hidden", "-rf", "a\0b", "a\nb",
        "C:\\x", "con", "NUL.x", "results", "Index", "device", "lognormal", "$(reboot)", "ü",
        "\udcff", "x" * 300, "network-x-0123456789ab", "trailing.",
    ],
)  # fmt: skip
def test_other_names_get_a_hash(name: str) -> None:
    stem = file_stems([name], taken=["lognormal"])[name]
    assert re.fullmatch(r"network-([A-Za-z0-9()+\-._=]*-)?[0-9a-f]{12}", stem)
    assert len(stem) <= LONGEST
    # of the name itself, whatever else is there
    assert file_stems(["y", name, "z"], taken=["lognormal"])[name] == stem


def test_names_that_differ_in_case_or_commas_stay_apart() -> None:
    found = file_stems(["Net", "net", "a, b", "a b"])
    assert len({stem.lower() for stem in found.values()}) == 4


ODD = st.text(st.sampled_from("aA.-/, \\n\0ü"), max_size=6)


@given(st.lists(st.one_of(ODD, st.text(), st.text(min_size=90, max_size=130)), max_size=8))
def test_stems_are_distinct_names_of_files(names: list[str]) -> None:
    found = file_stems(names, taken=["a"])
    lowered = [stem.lower() for stem in found.values()]
    assert list(found) == list(dict.fromkeys(names))
    assert len(set(lowered)) == len(lowered)
    assert not {"a", "results", "index", "device", "grid", "con"} & set(lowered)
    for stem in found.values():
        assert re.fullmatch(r"[A-Za-z0-9()+_=][A-Za-z0-9()+\-._=]*", stem)
        assert len(stem) <= LONGEST
    # nor are they where the stems of some are the names of others
    again = file_stems([*names, *found.values()])
    assert len({stem.lower() for stem in again.values()}) == len(again)
