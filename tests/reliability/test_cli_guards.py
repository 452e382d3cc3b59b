"""How a failed job ends."""

import pytest

from devicefit.backend import NotFinite
from reliability.cli_guards import Stop, working


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
    with pytest.raises(Stop) as found, working():
        raise error
    assert found.value.code == code
    assert str(found.value).startswith(message)
