import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicefit.inputs.columns import (
    UNIT_OF,
    ColumnError,
    ColumnMapping,
    parse_column,
    parse_columns,
)

NAMES = st.text(
    st.characters(exclude_characters="=:", exclude_categories=("Z", "C")), min_size=1, max_size=8
)


@pytest.mark.parametrize(
    ("text", "ours", "theirs", "unit", "factor"),
    [
        ("programming=I_set:uA", "programming", "I_set", "uA", 1e-6),
        ("programming=I_set", "programming", "I_set", None, 1.0),
        ("resistance_ohm=R:kohm", "resistance_ohm", "R", "kohm", 1e3),
        ("device_id=cell", "device_id", "cell", None, 1.0),
        (" state = what ", "state", "what", None, 1.0),
        ("resistance_ohm=R : Mohm", "resistance_ohm", "R", "Mohm", 1e6),
        # only what follows the last colon is the unit; the rest may hold colons and signs
        ("programming=V:gate:mV", "programming", "V:gate", "mV", 1e-3),
        ("programming=a=b:V", "programming", "a=b", "V", 1.0),
        ("cycle=:n", "cycle", ":n", None, 1.0),
        ("time_after_program_s=t:ms", "time_after_program_s", "t", "ms", 1e-3),
        ("programming_2=width:ns", "programming_2", "width", "ns", 1e-9),
        ("resistance_low_ohm=R_min:kohm", "resistance_low_ohm", "R_min", "kohm", 1e3),
        ("threshold_ohm=t:Mohm", "threshold_ohm", "t", "Mohm", 1e6),
    ],
)
def test_parse(text: str, ours: str, theirs: str, unit: str | None, factor: float) -> None:
    mapping = parse_column(text)
    assert mapping == ColumnMapping(ours, theirs, unit)
    assert mapping.factor == factor


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"--column '' is not of the form OURS=THEIRS\[:UNIT\], for example programming=I_set"),
        ("programming", r"'programming' is not of the form"),
        ("=R", r"'=R' is not of the form"),
        ("state=", r"'state=' is not of the form"),
        ("state=  ", r"is not of the form"),
        ("current=I:uA", r"--column current=I: 'current' is not a name of the schema; use one of"),
        ("programming=I:ua", r"--column programming=I:ua: unit 'ua' is not known; known units: A"),
        ("programming=I:", r"unit '' is not known"),
        ("programming=I:kohm", r"programming=I:kohm: the programming variable is a current \(A"),
        ("programming_2=I:K", r"programming_2=I:K: the programming variable is a current \(A"),
        ("errors=e:ohm", r"errors has no unit; write --column errors=e"),
        # a command to paste, whatever the user's column is called
        ("errors=e; rm -rf $x:ohm", r"write --column 'errors=e; rm -rf \$x'"),
        ("mean_ln_r=m:ohm", r"mean_ln_r has no unit"),
        ("device_id=d:uA", r"device_id has no unit; write --column device_id=d"),
        ("cycle=n:s", r"cycle has no unit; write --column cycle=n"),
        ("resistance_ohm=G:uA", r"resistance_ohm is measured in ohm, not in A"),
        ("temperature_k=T:s", r"temperature_k is measured in K, not in s"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        parse_column(text)


@pytest.mark.parametrize(
    ("text", "none"),
    [
        ("programming=none", True),
        ("programming=none:V", False),
        ("programming=x", False),
        ("cycle=none", False),
    ],
)
def test_none_declares_that_nothing_was_varied(text: str, none: bool) -> None:
    assert parse_column(text).is_none is none


def test_unknown_name_lists_the_schema() -> None:
    with pytest.raises(ColumnError) as error:
        parse_column("Device=d")
    assert str(error.value).endswith(", ".join(UNIT_OF))


def test_a_name_is_mapped_once() -> None:
    assert parse_columns([]) == ()
    assert [m.ours for m in parse_columns(["state=s", "device_id=d"])] == ["state", "device_id"]
    with pytest.raises(ColumnError, match="maps 'state' 2 times; give it once"):
        parse_columns(["state=a", "device_id=d", "state=b"])


@given(NAMES, st.sampled_from([None, "ohm", "kohm", "Mohm"]))
def test_round_trip(theirs: str, unit: str | None) -> None:
    text = f"resistance_ohm={theirs}" + (f":{unit}" if unit else "")
    assert parse_column(text) == ColumnMapping("resistance_ohm", theirs, unit)
