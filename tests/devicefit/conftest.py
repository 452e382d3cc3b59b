"""Tables, likelihoods and the fits that several test modules share."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytensor
import pytest
import xarray as xr
from pytensor.compile.mode import Mode

from devicefit.compression.compression import compress
from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics, fit
from devicefit.inputs.programming import Programming
from devicefit.likelihood.compressed import (
    Compressed,
    CompressedState,
    DeviceCells,
    Intervals,
    Summaries,
)
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.prediction.counted_errors import ErrorCounts, count_errors
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import prior_record, sample_priors
from devicefit.simulation.reference_device import (
    ReferenceDevice,
    ReferencePlan,
    reference_measurements,
)

CURRENT = Programming("SET compliance current", "A")
# Few, and enough: the lognormal posterior is nearly normal in the scale it is sampled in.
SAMPLER = SamplerOptions(chains=4, draws=500, warmup=300, seed=1, cores=1, target_accept=0.9)
# Four currents: no smooth deviations, which a test of the physics has no use for.
PLAN = ReferencePlan(currents=4, devices_per_current=200, cycles=5)
SMALL_PLAN = ReferencePlan(currents=4, devices_per_current=100, cycles=1)
# No operation fails, not even beyond what the tails of lognormals give (1e-40 here).
SOUND = ReferenceDevice(
    set_current_a=1e-9, set_width=0.01, set_floor=1e-200, reset_floor=1e-200, incomplete=1e-200
)
FAILING = ReferenceDevice(set_floor=0.05, reset_floor=0.05)


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
def flat_bytes() -> Callable[..., dict[str, bytes]]:
    """Every value inside a nested dataclass, as bytes, by its path."""

    def walk(value: Any, path: str = "") -> dict[str, bytes]:
        if dataclasses.is_dataclass(value):
            inside = {name: getattr(value, name) for name in value.__dataclass_fields__}
        elif isinstance(value, dict):
            inside = value
        elif isinstance(value, np.ndarray):
            return {f"{path} {value.dtype} {value.shape}": value.tobytes()}
        else:
            return {path: repr(value).encode()}
        return {k: v for n, part in inside.items() for k, v in walk(part, f"{path}.{n}").items()}

    return walk


NONE, NOTHING = np.zeros(0, np.int64), np.zeros(0)


@pytest.fixture(scope="session")
def make_state() -> Callable[..., CompressedState]:
    """Compress readings of one state by hand: each reading is its own bin, times its count."""

    def make(
        condition: Sequence[int] | np.ndarray,
        ln_r: FloatArray,
        *,
        conditions: int,
        count: Sequence[int] | np.ndarray | None = None,
        design_effect: float = 1.0,
        intervals: Intervals | None = None,
        summaries: Summaries | None = None,
    ) -> CompressedState:
        condition = np.asarray(condition, np.int64)
        number = np.ones(len(condition), np.int64) if count is None else np.asarray(count)
        n = np.bincount(condition, number, conditions).astype(np.int64)
        mean = np.bincount(condition, number * ln_r, conditions) / np.maximum(n, 1)
        apart = number * (ln_r - mean[condition]) ** 2
        squares = np.bincount(condition, apart, conditions)
        return CompressedState(
            condition,
            ln_r,
            number,
            n,
            mean,
            squares,
            design_effect,
            intervals or Intervals(NONE, NOTHING, NOTHING, NONE),
            summaries or Summaries(NONE, NONE, NOTHING, NOTHING),
            # Nobody knows which device was read: no levels.
            DeviceCells(NONE, NONE, NONE, *[NOTHING] * 5),
        )

    return make


@pytest.fixture(scope="session")
def make_compressed() -> Callable[..., Compressed]:
    """Put states together, over conditions given by hand."""

    def make(
        programming: Programming,
        conditions: FloatArray,
        states: dict[str, CompressedState],
        *,
        second: Programming | None = None,
        second_values: FloatArray | None = None,
        array: np.ndarray | None = None,
    ) -> Compressed:
        n = len(conditions)
        index = np.zeros(n, np.int64) if array is None else array
        return Compressed(
            programming,
            second,
            ("",) if array is None else tuple(f"array {a}" for a in range(index.max() + 1)),
            conditions,
            np.zeros(n) if second_values is None else second_values,
            index,
            states,
            10,
            NONE,
            np.ones(n, np.int64),
        )

    return make


def named(family: str, frame: Frame, vector: FloatArray) -> dict[str, FloatArray]:
    """Parameters by name from flat vectors (on the last axis), in order of the priors."""
    found, at = {}, 0
    for p in FAMILIES[family].priors(frame):
        found[p.name] = vector[..., at : at + p.size] if p.size else vector[..., at]
        at += max(p.size, 1)
    return found


@pytest.fixture(scope="session")
def by_name() -> Callable[..., dict[str, FloatArray]]:
    """Give the function :func:`named`."""
    return named


@pytest.fixture(scope="session")
def prior_vectors() -> Callable[..., FloatArray]:
    """Draw flat vectors of parameters from their priors, `narrow` times as wide."""

    def make(
        family: str, frame: Frame, *, draws: int, seed: int, narrow: float = 1.0
    ) -> FloatArray:
        priors = FAMILIES[family].priors(frame)
        sampled = sample_priors(priors, draws=draws, rng=np.random.default_rng(seed))
        columns = [
            p.mean + narrow * (sampled[p.name][0].reshape(draws, -1) - p.mean) for p in priors
        ]
        return np.concatenate(columns, axis=1)

    return make


ValueAndGradient = Callable[[FloatArray], tuple[float, FloatArray]]
# Machine code for a graph takes half a minute; a few evaluations in Python do not.
IN_PYTHON = Mode(linker="py", optimizer=None)


@pytest.fixture(scope="session")
def likelihood_of() -> Callable[..., ValueAndGradient]:
    """Make the likelihood of a family's PyMC model with its gradient, of a flat vector."""

    def make(family: str, compressed: Compressed) -> ValueAndGradient:
        model = FAMILIES[family].model(compressed)
        inputs = model.value_vars
        value = sum(model.logp(model.potentials, sum=False))
        gradient = pytensor.grad(value, inputs, disconnected_inputs="ignore")
        function = pytensor.function(
            inputs, [value, *gradient], mode=IN_PYTHON, on_unused_input="ignore"
        )
        frame = Frame.of(compressed)

        def evaluate(vector: FloatArray) -> tuple[float, FloatArray]:
            found, *slopes = function(*named(family, frame, vector).values())
            return float(found), np.concatenate([np.atleast_1d(s) for s in slopes])

        return evaluate

    return make


@pytest.fixture(scope="session")
def differences() -> Callable[..., FloatArray]:
    """Give the slopes of a function of a vector by central differences of fourth order.

    Their error is the step to the fourth times the fifth derivative over 30, and the rounding of
    the value times 1.5 over the step.
    """

    def slopes(
        function: Callable[[FloatArray], float], at: FloatArray, step: float = 1e-3
    ) -> FloatArray:
        found = []
        for way in step * np.eye(len(at)):
            far, near = (function(at + k * way) - function(at - k * way) for k in (2, 1))
            found.append((8 * near - far) / (12 * step))
        return np.array(found)

    return slopes


@pytest.fixture(scope="session")
def known_posterior() -> Callable[..., DevicePosterior]:
    """Make a posterior whose draws are all one known lognormal device."""

    def make(*, design_effect: float = 1.0, **parameters: float) -> DevicePosterior:
        frame = Frame(CURRENT, 2e-5, 6e-4)
        values = {p.name: p.mean for p in FAMILIES["lognormal"].priors(frame)} | parameters
        draws = xr.Dataset(
            {k: (("chain", "draw"), np.full((2, 500), v)) for k, v in values.items()},
            coords={"chain": np.arange(2), "draw": np.arange(500)},
        )
        record = {
            "devices": 800,
            "design_effect": {"LRS": design_effect, "HRS": design_effect},
            "readings": {"LRS": 800, "HRS": 800},
            "priors": prior_record(FAMILIES["lognormal"].priors(frame)),
            "sampler": SAMPLER.record(),
        }
        return DevicePosterior(
            "lognormal", draws, frame, Diagnostics(1.0, 1000.0, 1000.0, 0, 1000), record
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


def fitted(
    device: ReferenceDevice, family: str, plan: ReferencePlan, options: SamplerOptions = SAMPLER
) -> Fitted:
    measurements = reference_measurements(device=device, plan=plan)
    compressed = compress(measurements)
    posterior = fit(compressed, family=family, options=options)
    curves = ber_curves(
        posterior, measurements.programming.grid(2e-5, 6e-4, 40), options=SensingOptions()
    )
    counts = count_errors(measurements, curves["1T1R"])
    return Fitted(device, measurements, compressed, posterior, curves, counts)


@pytest.fixture(scope="session")
def good_fit() -> Fitted:
    """Fit lognormals with their levels to a device on which no operation fails."""
    # 500 draws pass R-hat of 1.01 with some seeds only
    return fitted(SOUND, "lognormal", PLAN, dataclasses.replace(SAMPLER, draws=1000))


@pytest.fixture(scope="session")
def failing_fit() -> Fitted:
    """Fit switching failures where 5 % of all operations fail, with few draws."""
    few = dataclasses.replace(SAMPLER, draws=200, warmup=250)
    return fitted(FAILING, "switching-failure", SMALL_PLAN, few)


@pytest.fixture(scope="session")
def wrong_fit() -> Fitted:
    """Fit lognormals, wrongly, where 5 % of all operations fail."""
    few = dataclasses.replace(SAMPLER, draws=250, warmup=250)
    return fitted(FAILING, "lognormal", ReferencePlan(), few)


@pytest.fixture(scope="session")
def gate_sweep() -> Path:
    """Path of the measured gate sweep, where there is one."""
    data = Path(__file__).parents[3] / "shared" / "data" / "devices"
    path = data / "radar_gate_sweep" / "gate_sweep.csv.gz"
    if not path.is_file():
        pytest.skip("the measured gate sweep is not at ../shared/data/devices")
    return path
