"""A fit with conditions left out, from the command line to the stored study."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devicefit.simulation.reference_device import ReferenceDevice, ReferencePlan, reference_csv
from reliability.device.files import load_study

# No operation fails, so lognormals are the truth; 40 devices at each of five currents.
SOUND = ReferenceDevice(
    set_current_a=1e-9, set_width=0.01, set_floor=1e-200, reset_floor=1e-200, incomplete=1e-200
)
PLAN = ReferencePlan(currents=5, devices_per_current=40, cycles=1)


def test_groups_are_left_out_and_predicted(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "small.csv").write_text(reference_csv(seed=5, device=SOUND, plan=PLAN))
    (tmp_path / "mine.toml").write_text("[parameter.exponent]\nmean = 1.0\nsd = 0.01\n")
    arguments = ["--measurements", "small.csv", "--model", "lognormal", "--priors", "mine.toml"]
    arguments += ["--leave-out", "2", "--draws", "150", "--warmup", "150", "--threads", "1"]
    found = call("fit", "--out", "fitted", "--threshold-ohm", "2e4", *arguments)
    assert found.returncode == 0, found.stderr
    assert "refitting the lognormal family without each of 2 groups" in found.stderr
    rows = load_study(tmp_path / "fitted").record["left_out_conditions"]
    # five currents cannot be halved: the nearest is two or three
    assert [(row["state"], row["devices"]) for row in rows] in (
        [("LRS", 80), ("HRS", 80), ("LRS", 120), ("HRS", 120)],
        [("LRS", 120), ("HRS", 120), ("LRS", 80), ("HRS", 80)],
    )
    assert rows[0]["programming_low"] == pytest.approx(2e-5)
    assert rows[-1]["programming_high"] == pytest.approx(6e-4)
    for row in rows:
        assert row["extrapolated"] is True
        inside = row["failures_q025"] <= row["failures_observed"] <= row["failures_q975"]
        assert row["inside"] is inside
    record = json.loads((tmp_path / "fitted" / "device.json").read_text())["record"]
    assert record["left_out_conditions"] == rows
    (gate,) = [g for g in record["gates"] if g["name"] == "left-out conditions"]
    assert gate["value"] == sum(row["inside"] for row in rows) / 4
    # half of the range says what the other half does where the physics holds
    assert gate["passed"], gate["finding"]
    assert gate["finding"].startswith("4 of 4 cells (group, state) inside")
    assert "; extrapolated: 20 uA to " in gate["finding"]
