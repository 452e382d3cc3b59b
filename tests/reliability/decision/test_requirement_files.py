from pathlib import Path

import pytest
import xarray as xr

from reliability.cli.decision_inputs import (
    DecisionChoices,
    counted_images,
    decision_options,
    requirement_of,
)
from reliability.decision.requirement import (
    Life,
    Requirement,
    StatedReference,
    Utility,
    default_requirement,
)
from reliability.decision.requirement_files import RequirementFileError, read_requirement
from reliability.networks.study import NetworkStudy

DOCUMENT = Path(__file__).parents[3] / "docs" / "requirements.md"


def read(tmp_path: Path, text: str) -> Requirement:
    path = tmp_path / "need.toml"
    path.write_text(text)
    return read_requirement(path)


def test_the_documented_example_is_what_it_says(tmp_path: Path) -> None:
    example = DOCUMENT.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    assert read(tmp_path, example) == Requirement(
        max_loss=0.01,
        risk=0.05,
        memory_ber=1e-5,
        life=Life(years=10.0, temperature_k=358.15, cycles=1e4),
        reference=StatedReference(200e-6, "A", 1.0),
        utility=Utility(1.5, 3.0),
    )


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Requirement()
    assert read(tmp_path, "[accuracy]\nrisk = 0.1\n") == Requirement(risk=0.1)
    assert read(tmp_path, "accuracy.risk = 0.1\n") == Requirement(risk=0.1)


def test_digits_accept_two_points_where_nothing_is_stated(tmp_path: Path) -> None:
    digits = default_requirement("digits")
    assert digits == Requirement(max_loss=0.02)
    assert default_requirement("mnist") == default_requirement(None) == Requirement(max_loss=0.01)
    path = tmp_path / "need.toml"
    path.write_text("[accuracy]\nrisk = 0.1\n[life]\nyears = 1\n")
    assert read_requirement(path, digits) == Requirement(0.02, 0.1, life=Life(years=1.0))
    path.write_text("[accuracy]\nmax_loss_points = 1\n")
    assert read_requirement(path, digits) == Requirement(max_loss=0.01)


def test_the_command_line_knows_the_images_and_overrides_the_default() -> None:
    study = NetworkStudy(xr.Dataset(), {"image_set": {"name": "digits"}})
    assert counted_images({"standard": study}) == "digits"
    assert requirement_of(DecisionChoices(), "digits").max_loss == 0.02
    assert requirement_of(DecisionChoices(), None).max_loss == 0.01
    stated = DecisionChoices(max_loss=0.01)
    assert requirement_of(stated, "digits").max_loss == 0.01
    assert decision_options(stated, image_set="digits").requirement.max_loss == 0.01
    assert decision_options(DecisionChoices(), image_set="digits").requirement.max_loss == 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[accuracy\n", "not a TOML file"),
        ("\n[speed]\nx = 1\n", r"line 2, \[speed\]: speed is not a known section; known: \[acc"),
        ("life = 3\n", "line 1: life is a section"),
        ("[life]\n\nyear = 1\n", r"line 3, \[life\] year: year is not known; known: years"),
        ("life.year = 1\n", r"line 1, \[life\] year: year is not known"),
        ("[life]\nyears = '10'\n", r"line 2, \[life\] years: '10' is not a finite number"),
        ("[life]\nyears = true\n", "True is not a finite number"),
        ("[life]\nyears = -1\n", r"line 2, \[life\] years: years is -1.0; it must be positive"),
        ("[life]\ncycles = 0.5\n", "programmed at least once"),
        ("[life]\ntemperature_c = 900\n", "temperature_c is 900; give"),
        ("[life]\ntemperature_c = 85\ntemperature_k = 300\n", r"line 3.*state the same thing"),
        ("[accuracy]\nmax_loss = 2\n", r"line 2, \[accuracy\] max_loss: max_loss is 2.0"),
        ("[accuracy]\nmax_loss_points = 200\n", "give points of accuracy between 0 and 100"),
        ("[accuracy]\nprobability = 0.2\n", "between 0.5 and 1"),
        ("[accuracy]\nprobability = 0.9\nrisk = 0.1\n", "state the same thing; keep one"),
        ("[reference]\nmemory_ber = 0.5\n", r"line 2, \[reference\] memory_ber: memory_ber is 0.5"),
        ("[reference]\nprogramming = 3\n", 'write for example "200 uA"'),
        ("[reference]\nprogramming = '3 kohm'\n", "'3 kohm' is in ohm; a programming value is"),
        ("[reference]\nprogramming = '-3 V'\n", "must be positive"),
        ("[reference]\ncells_per_bit = 2\n", "cells_per_bit needs programming"),
        ("[utility]\nenergy_factor_per_point = 0.5\n", "give a factor of at least 1"),
        ("[utility]\nenergy_factor_per_point = 1\n", "gives accuracy no worth"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(RequirementFileError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequirementFileError, match=r"none.toml: no such file"):
        read_requirement(tmp_path / "none.toml")
