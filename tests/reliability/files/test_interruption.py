"""Signals at several moments of a command: nothing is written, and the message says so."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from devicefit.sampling import sampler
from reliability.files import interruption
from reliability.files.progress import Narrator

Call = Callable[..., Any]
FIT = ("fit", "--measurements", "good.csv", "--out", "deep/d", "--model", "lognormal",
       "--draws", 50, "--warmup", 50, "--threads", 1)  # fmt: skip
NOTHING = "rram-reliability: interrupted; nothing was written\n"


@pytest.fixture(autouse=True)
def heeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A suite started in the background hands down an ignored SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(1)
    rows = [
        (f"d{device}", state, current, median * np.exp(rng.normal() / 4))
        for device in range(12)
        for current, low in ((2e-5, 3e4), (1e-4, 6e3))
        for state, median in (("LRS", low), ("HRS", 1e5))
    ]
    table = pd.DataFrame(rows, columns=["device_id", "state", "i_cc_a", "resistance_ohm"])
    table.to_csv(tmp_path / "good.csv", index=False)
    yield
    signal.signal(signal.SIGINT, before)


def after(function: Callable[..., Any], number: int, act: Callable[[], object]) -> Any:
    """The function, with something that is done after its call of that number."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        found = function(*args, **kwargs)
        calls += 1
        if calls == number:
            act()
        return found

    return wrapped


def interrupt_between_chains(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act when the second chain takes its start: chains follow each other on one core."""
    real = sampler._model

    def model(*args: Any) -> Any:
        return real(*args[:-1], after(args[-1], 2, act))

    monkeypatch.setattr(sampler, "_model", model)


@pytest.mark.parametrize("number", interruption.SIGNALS)
@pytest.mark.parametrize("moment", ["before", "between chains", "writing"])
def test_interrupted_fit_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    moment: str,
    number: signal.Signals,
) -> None:
    """After the first chain it said that draws are not finite, with exit code 2."""

    def act() -> None:
        os.kill(os.getpid(), number)

    if moment == "before":
        monkeypatch.setattr(sampler, "find_modes", after(sampler.find_modes, 1, act))
    elif moment == "between chains":
        interrupt_between_chains(monkeypatch, act)
    else:
        monkeypatch.setattr(xr.Dataset, "to_netcdf", after(xr.Dataset.to_netcdf, 1, act))
    found = call(*FIT)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.endswith(NOTHING)
    assert "not finite" not in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["good.csv"]


def test_interruption_that_code_swallows_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    def swallow() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("no interruption")

    monkeypatch.setattr(sampler, "find_modes", after(sampler.find_modes, 1, swallow))
    found = call(*FIT)
    assert found.returncode == 1
    assert found.stderr.endswith(NOTHING)
    assert [p.name for p in tmp_path.iterdir()] == ["good.csv"]


def test_interruption_that_code_takes_for_an_error(
    monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    def fail() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("half of the draws") from None

    monkeypatch.setattr(sampler, "find_modes", after(sampler.find_modes, 1, fail))
    found = call(*FIT)
    assert (found.returncode, found.stderr.splitlines(True)[-1]) == (1, NOTHING)


def test_interruption_while_files_take_their_names_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setattr(os, "link", after(os.link, 1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    found = call(*FIT)
    assert found.returncode == 1
    assert found.stderr.endswith("rram-reliability: interrupted; deep/d had been written\n")
    names = {p.name for p in (tmp_path / "deep" / "d").iterdir()}
    assert names == {".rram-reliability.json", "device.json", "lognormal.nc"}


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--out", "n.safetensors", "--hidden", 8, "--epochs", 12),
        ("grid", "--out", "g", "--hidden", 8, "--epochs", 12, "--chips", 2, "--train-ber", 0),
    ],
)
def test_interrupted_training_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, command: tuple[object, ...]
) -> None:
    tick = after(Narrator.tick, 3, lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(Narrator, "tick", tick)
    found = call(*command)
    assert found.returncode == 1
    assert found.stderr.endswith(NOTHING)
    assert [p.name for p in tmp_path.iterdir()] == ["good.csv"]


def test_interrupted_posterior_of_life_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    table = pd.DataFrame(
        [
            (f"d{d}", s, c, 2 + d, 1000)
            for d in range(4)
            for s in ("LRS", "HRS")
            for c in (1e2, 1e5)
        ],
        columns=["device_id", "state", "prior_cycles", "errors", "trials"],
    )
    table.to_csv(tmp_path / "counts.csv", index=False)
    reached = []

    def act() -> None:
        reached.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    interrupt_between_chains(monkeypatch, act)
    found = call("life", "endurance", "--measurements", "counts.csv", "--out", "e.nc")
    assert (found.returncode, bool(reached)) == (1, True)
    assert found.stderr.endswith(NOTHING)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["counts.csv", "good.csv"]


KILLED = """
import os, signal
from devicefit.sampling import sampler
real = sampler._model
calls = []
def model(*args):
    def begin(seed):
        calls.append(seed)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return args[-1](seed)
    return real(*args[:-1], begin)
sampler._model = model
from reliability.cli.main import main
main()
"""


def test_process_that_is_ended_after_its_first_chain(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, FIT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1, found.stderr
    assert found.stderr.endswith(NOTHING)
    assert [p.name for p in tmp_path.iterdir()] == ["good.csv"]


IMPATIENT = """
import os, signal, threading, time
from reliability.cli import main as cli
from reliability.files import interruption

def begin(**_):
    # a thread that goes on: the process would wait for it
    threading.Thread(target=time.sleep, args=(600,)).start()
    os.kill(os.getpid(), signal.SIGTERM)

cli.app = begin
real = interruption.say_last
def say_last(text):
    code = real(text)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    return code
interruption.say_last = say_last
cli.main()
"""


def test_second_signal_ends_a_process_that_waits(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", IMPATIENT], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert (found.returncode, found.stderr) == (1, NOTHING)


def test_held_back_signals_come_at_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruption.interruptible():  # noqa: PT012
        with interruption.held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(interruption.asked())
        done.append("never")
    assert done == [False]
    assert interruption.asked()
    with interruption.interruptible():
        assert not interruption.asked()


def test_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.interruptible(), interruption.held_back():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert not interruption.asked()


def test_other_threads_hold_nothing_back() -> None:
    found = []

    def work() -> None:
        with interruption.held_back():
            found.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [1]
