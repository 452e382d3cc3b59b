"""What users import: few names, loaded when used, and objects that print short."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnn
import devicefit
import reliability
from devicefit.families.frame import Frame
from devicefit.numerics.short_repr import short_repr
from devicefit.simulation.calibration import CURRENT_DESIGN

PACKAGES = (bnn, devicefit, reliability)
MOST_NAMES = 60
LONGEST = 600


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_each_public_name_is_the_object_of_its_module(package: object) -> None:
    stub = Path(str(package.__file__)).with_suffix(".pyi")  # type: ignore[attr-defined]
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.ImportFrom)
        home = importlib.import_module(f"{package.__name__}.{node.module}")  # type: ignore[attr-defined]
        for alias in node.names:
            assert getattr(package, alias.name) is getattr(home, alias.name)


def test_public_names_are_few() -> None:
    assert sum(len(package.__all__) for package in PACKAGES) <= MOST_NAMES


def test_importing_the_packages_loads_no_heavy_library() -> None:
    code = (
        "import sys, bnn, devicefit, reliability; "
        "print([m for m in ('torch', 'pymc', 'numba', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_objects_print_short() -> None:
    measurements = devicefit.reference_measurements(seed=1)
    compressed = devicefit.compress(measurements)
    family = devicefit.FAMILIES["lognormal"]
    frame = CURRENT_DESIGN.frame
    places = frame.places(np.array([5e-5]))
    draws = {p.name: np.full((1, 1), p.mean) for p in family.priors(frame)}
    laws = family.mixtures(draws, frame, places)
    objects = [
        measurements,
        compressed,
        Frame.of(compressed),
        family,
        devicefit.FAMILIES,
        laws["LRS"],
        bnn.load_zoo("digits-standard")[0],
        bnn.load_images("digits"),
    ]
    long = {type(o).__name__: len(repr(o)) for o in objects if len(repr(o)) > LONGEST}
    assert long == {}


def test_a_short_text_says_shapes_and_names() -> None:
    from dataclasses import dataclass, field

    @short_repr
    @dataclass(frozen=True)
    class Held:
        name: str
        draws: object
        parts: object
        hidden: int = field(default=1, repr=False)

    held = Held("x" * 100, np.zeros((2, 3)), {"a": np.zeros(9), "b": 1})
    assert repr(held) == (
        f"Held(name='{'x' * 56}..., draws=float64 array of shape (2, 3), parts={{a, b}})"
    )
