"""The command line in this process, and a surface made by hand."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reliability.accuracy.surface import AccuracySurface
from reliability.cli.main import main
from reliability.files.interruption import SIGNALS


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code and text."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Runs the command in this process, in an empty directory."""
    monkeypatch.delenv("RRAM_DATA_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["rram-reliability", *map(str, arguments)])
        capfd.readouterr()
        # an interrupted process leaves them as it needs them to its end
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capfd.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def study_record() -> Callable[..., dict[str, Any]]:
    """Record of a device study of which nothing was read; named parts are replaced."""

    def record(**parts: Any) -> dict[str, Any]:
        data = {
            "source": "a test",
            "sha256": "0" * 64,
            "simulated": True,
            "devices": 100,
            "conditions": 4,
            "readings": {"LRS": 400, "HRS": 400},
        }
        empty: dict[str, Any] = {"data": data, "gates": [], "counts": {}, "quantiles": []}
        empty |= {
            "families": {},
            "levels": {},
            "checks": {},
            "left_out_conditions": [],
            "measured": [],
        }
        return empty | parts

    return record


@pytest.fixture(scope="session")
def straight_surface() -> Callable[..., AccuracySurface]:
    """Makes surfaces whose logit of lost images is straight in ln BER; 1000 images, simulated.

    A tilt ``u`` adds ``by_tilt * abs(u)`` to it.
    """

    def surface(
        *, spread: float = 0.0, dispersion: float = 0.0, draws: int = 400, by_tilt: float = 0.0
    ) -> AccuracySurface:
        ln_rate, tilt = np.log(np.geomspace(1e-4, 0.5, 8)), np.array([-1.0, 0.0, 1.0])
        shape = (draws, len(ln_rate), len(tilt))
        rng = np.random.default_rng(0)
        lost = 1.5 * ln_rate + 2.0 + spread * rng.standard_normal((draws, 1))
        return AccuracySurface(
            ln_rate=ln_rate,
            tilt=tilt,
            logit_share={
                "lost": lost[:, :, None] + by_tilt * np.abs(tilt),
                "gained": np.full(shape, -3.0),
            },
            ln_dispersion={k: np.full(shape, dispersion) for k in ("lost", "gained")},
            images=1000,
            correct=950,
            chips=50,
            diagnostics={},
        )

    return surface
