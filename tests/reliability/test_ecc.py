import numpy as np
import pytest

from reliability.ecc import NO_CODE, SECDED_72_64, Code, ln_residual_ber, raw_ber_for

# Bounds of the residual BER as derived in the project's facts: from errors left in place to each
# failed decoding adding t more wrong bits, n-bit word, independent errors.
TABLE = [
    (SECDED_72_64, 1e-4, 7.1e-7, 1.1e-6),
    (SECDED_72_64, 1e-3, 6.9e-5, 1.0e-4),
    (SECDED_72_64, 1e-2, 5.1e-3, 7.4e-3),
    (Code("SECDED(39,32)", 39, 32, 1, 2), 1e-3, 3.7e-5, 5.6e-5),
    (Code("DEC(78,64)", 78, 64, 2, 2), 1e-3, 2.8e-6, 4.6e-6),
    (Code("TEC(85,64)", 85, 64, 3, 3), 1e-2, 5.3e-4, 9.0e-4),
]


@pytest.mark.parametrize(("code", "raw", "low", "high"), TABLE)
def test_residual_ber_lies_between_the_published_bounds(
    code: Code, raw: float, low: float, high: float
) -> None:
    found = float(np.exp(ln_residual_ber(code, np.log(raw))))
    # Table values have two digits.
    assert low * 0.99 <= found <= high * 1.05


def test_secded_leaves_detected_doubles_in_place() -> None:
    """Brute force over all words of a (7,4) code with 1 corrected and 2 detected bits."""
    code, p = Code("small", 7, 4, 1, 2), 0.03
    expected = 0.0
    for word in range(2**7):
        wrong = word.bit_count()
        if wrong < 2:
            continue
        left = wrong if wrong == 2 else min(wrong + 1, 7)
        expected += left / 7 * p**wrong * (1 - p) ** (7 - wrong)
    assert np.exp(ln_residual_ber(code, np.log(p))) == pytest.approx(expected, rel=1e-12)


def test_edges() -> None:
    assert ln_residual_ber(SECDED_72_64, -np.inf) == -np.inf
    assert np.exp(ln_residual_ber(SECDED_72_64, 0.0)) == pytest.approx(1.0)
    assert np.exp(ln_residual_ber(NO_CODE, np.log(0.2))) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="must not exceed 1"):
        ln_residual_ber(SECDED_72_64, 0.1)


def test_small_raw_ber_stays_exact() -> None:
    # At small p two wrong bits dominate: C(72,2) p^2 * 2/72 = 71 p^2.
    found = float(ln_residual_ber(SECDED_72_64, np.log(1e-12)))
    assert found == pytest.approx(np.log(71e-24), abs=1e-9)


@pytest.mark.parametrize("target", [1e-15, 1e-9, 1e-5, 1e-3])
def test_raw_ber_inverts_the_residual(target: float) -> None:
    raw = raw_ber_for(SECDED_72_64, target)
    assert np.exp(ln_residual_ber(SECDED_72_64, np.log(raw))) == pytest.approx(target, rel=1e-6)
    assert raw_ber_for(NO_CODE, target) == target


def test_target_outside_range_is_refused() -> None:
    with pytest.raises(ValueError, match="target BER is 0.5"):
        raw_ber_for(SECDED_72_64, 0.5)


def test_impossible_code_is_refused() -> None:
    with pytest.raises(ValueError, match="need 0 < k <= n"):
        Code("bad", 8, 9, 1, 2)
