"""Tables, likelihoods and the two fits that several test modules share."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr

from devicefit.backend import SamplerOptions
from devicefit.compression import Compressed, compress
from devicefit.fitting import DevicePosterior, Diagnostics, fit
from devicefit.measurements import Measurements, check_measurements
from devicefit.models import FAMILIES
from devicefit.models.core import Frame
from devicefit.programming import Programming
from devicefit.reference_device import ReferenceDevice, reference_measurements
from devicefit.sensing import BerCurve, ErrorCounts, SensingOptions, ber_curves, count_errors

CURRENT = Programming("SET compliance current", "A")
# Small, yet seeds 1 to 4 all pass the gates; at the default target a few transitions diverge.
SAMPLER = SamplerOptions(chains=4, draws=700, warmup=600, seed=1, target_accept=0.98)


@pytest.fixture
def user_table() -> pd.DataFrame:
    """Readings as a user would write them: 3 currents, 12 devices at each, 2 cycles."""
    rng = np.random.default_rng(7)
    rows = []
    for number, current in enumerate((50e-6, 100e-6, 200e-6)):
        for device in range(12):
            for cycle in range(2):
                lrs = (1000 + 0.5 / current) * np.exp(0.1 * rng.standard_normal())
                hrs = 1e5 * np.exp(0.5 * rng.standard_normal())
                name = f"d{12 * number + device}"
                rows.append((name, cycle, "LRS", current, round(lrs, 3)))
                rows.append((name, cycle, "HRS", current, round(hrs, 3)))
    return pd.DataFrame(rows, columns=["device_id", "cycle", "state", "i_cc_a", "resistance_ohm"])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a table as CSV and give its path."""

    def to_file(table: pd.DataFrame, name: str = "readings.csv", **how: Any) -> Path:
        table.to_csv(tmp_path / name, index=False, **how)
        return tmp_path / name

    return to_file


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measurements]:
    """Make checked readings from columns; a current is the programming variable."""

    def make(
        ln_r: np.ndarray,
        *,
        state: Sequence[str] | np.ndarray,
        programming: Sequence[float] | np.ndarray,
        device: Sequence[Any] | np.ndarray,
        cycle: Sequence[int] | np.ndarray,
    ) -> Measurements:
        table = pd.DataFrame(
            {
                "device_id": device,
                "cycle": cycle,
                "state": state,
                "programming": programming,
                "resistance_ohm": np.exp(ln_r),
            }
        )
        return check_measurements(table, CURRENT)

    return make


@pytest.fixture(scope="session")
def compiled() -> Callable[..., Any]:
    """Compile the likelihood of a family (and its gradient) as a function of its parameters."""

    def make(
        family: str,
        compressed: Compressed,
        frame: Frame,
        *,
        inputs: Sequence[Any] = (),
        gradient: bool = True,
    ) -> Callable[..., Any]:
        priors = FAMILIES[family].priors(frame.programming)
        vector = pt.dvector("parameters")
        named = {p.name: vector[i] for i, p in enumerate(priors)}
        value = FAMILIES[family].ln_likelihood(named, compressed, frame)
        outputs = [value, pt.grad(value, vector)] if gradient else value
        # Plain Python execution needs no compiler and no BLAS, whose absence PyTensor reports;
        # NumPy cannot run fused operations of more than 32 operands.
        mode = pytensor.compile.mode.Mode(linker="py", optimizer="fast_run").excluding("fusion")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
            return pytensor.function([vector, *inputs], outputs, mode=mode)

    return make


@pytest.fixture(scope="session")
def known_posterior() -> Callable[..., DevicePosterior]:
    """Make a posterior whose draws are all one known lognormal device."""

    def make(*, design_effect: float = 1.0, **parameters: float) -> DevicePosterior:
        values = {p.name: p.mean for p in FAMILIES["lognormal"].priors(CURRENT)} | parameters
        draws = xr.Dataset(
            {k: (("chain", "draw"), np.full((2, 500), v)) for k, v in values.items()},
            coords={"chain": np.arange(2), "draw": np.arange(500)},
        )
        return DevicePosterior(
            "lognormal",
            draws,
            Frame(CURRENT, 2e-5, 6e-4),
            Diagnostics(1.0, 1000.0, 1000.0, 0, 1000),
            {"devices": 800, "design_effect": {"LRS": design_effect, "HRS": design_effect}},
        )

    return make


@dataclass(frozen=True)
class Fitted:
    """A fit of simulated readings with everything derived from it."""

    device: ReferenceDevice
    measurements: Measurements
    compressed: Compressed
    posterior: DevicePosterior
    curves: dict[str, BerCurve]
    counts: ErrorCounts


def fitted(device: ReferenceDevice, family: str) -> Fitted:
    measurements = reference_measurements(device=device)
    compressed = compress(measurements)
    posterior = fit(compressed, family=family, options=SAMPLER)
    curves = ber_curves(
        posterior, measurements.programming.grid(2e-5, 6e-4, 40), options=SensingOptions()
    )
    counts = count_errors(measurements, curves["1T1R"])
    return Fitted(device, measurements, compressed, posterior, curves, counts)


@pytest.fixture(scope="session")
def good_fit() -> Fitted:
    """Fit the reference device with the family that it comes from."""
    return fitted(ReferenceDevice(), "switching-failure")


@pytest.fixture(scope="session")
def wrong_fit() -> Fitted:
    """Fit lognormals, wrongly, where 5 % of all operations fail."""
    device = dataclasses.replace(ReferenceDevice(), set_floor=0.05, reset_floor=0.05)
    return fitted(device, "lognormal")


@pytest.fixture(scope="session")
def gate_sweep() -> Path:
    """Path of the measured gate sweep, where there is one."""
    data = Path(__file__).parents[3] / "shared" / "data" / "devices"
    path = data / "radar_gate_sweep" / "gate_sweep.csv.gz"
    if not path.is_file():
        pytest.skip("the measured gate sweep is not at ../shared/data/devices")
    return path
