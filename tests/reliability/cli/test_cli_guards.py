"""How a failed job ends."""

import pytest
import typer

from devicefit.inputs.programming import Programming
from devicefit.sampling.sampler import NotFinite
from reliability.cli.guards import (
    DEBUG,
    Stop,
    exit_1_on_failure,
    exit_2_on_bad_input,
    exit_2_on_refusal,
)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFinite("LRS: 3 draws are not finite"), 2, "LRS: 3 draws are not finite\nnothing was"),
        (ZeroDivisionError("x"), 1, "the job failed: ZeroDivisionError: x"),
        (Stop("as said", 3), 3, "as said"),
    ],
)
def test_a_failed_job_ends_with_a_message_and_a_code(
    error: Exception, code: int, message: str
) -> None:
    with pytest.raises(Stop) as found, exit_1_on_failure():
        raise error
    assert found.value.code == code
    assert str(found.value).startswith(message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("a.csv: wrong"), "a.csv: wrong"),
        (OSError("disk"), "disk"),
        (
            KeyError("correct"),
            r"the input cannot be used: 'correct' is missing \(met in .*, line \d",
        ),
        (RecursionError("deep"), "nested too deeply"),
        (OverflowError("large"), "OverflowError: large"),
        (AttributeError("x"), "AttributeError: x"),
    ],
)
def test_whatever_checking_meets_ends_the_command(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    with pytest.raises(Stop, match=message) as found, exit_2_on_bad_input():
        raise error
    assert found.value.code == 2
    monkeypatch.setenv(DEBUG, "1")
    with pytest.raises(type(error)), exit_2_on_bad_input():
        raise error


def test_the_innermost_place_of_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    with pytest.raises(Stop, match=r"met in programming\.py, line \d+"), exit_2_on_bad_input():
        Programming("x", "A").format(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [Stop("as said", 1), typer.Exit(3), KeyboardInterrupt()])
def test_endings_with_a_code_of_their_own_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as found, exit_2_on_bad_input():
        raise error
    assert found.value is error


def test_checks_within_the_work_refuse_and_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in a training is a failed job, not wrong input."""
    monkeypatch.delenv(DEBUG, raising=False)
    with (
        pytest.raises(Stop, match="no such network") as found,
        exit_1_on_failure(),
        exit_2_on_refusal(),
    ):
        raise ValueError("no such network")
    assert found.value.code == 2
    with (
        pytest.raises(Stop, match="the job failed: KeyError") as found,
        exit_1_on_failure(),
        exit_2_on_refusal(),
    ):
        raise KeyError("x")
    assert found.value.code == 1
