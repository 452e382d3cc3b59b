"""Do as many chips meet the requirement as the accuracy surfaces promise?

Each design is asked at its lowest safe programming, before any confirmation, and at one value where
the promise lies between `LOW` and `HIGH`. Chips are those that confirm a design: one draw of the
device and one array each, both rates, decoded word by word, thresholds as the design has them.

Standard errors of a difference: of the share of the chips; of the promise, over its paired draws;
and of the surface, which rests on a finite number of chips: the spread over its draws, device and
chips alike. A difference passes within three of all of them, or within `NEAR`.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability_subjects import SEED, Subjects
from devicefit.distributions.sensing import SensingOptions
from reliability.accuracy.propagation import Pairing
from reliability.chips.chip_yield import share_within
from reliability.chips.lots import ROUNDING, Lot
from reliability.confirmation.confirmed import DesignChips
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.decision.compare import compare
from reliability.decision.comparison import Comparison, Design
from reliability.decision.options import DecisionOptions
from reliability.device.study import DeviceStudy
from reliability.energy.energy import EnergyOptions
from reliability.networks.study import NetworkStudy
from reliability.plans.storage import STORAGES
from reliability.statements.counted_rates import LEAST_KNOWN, known_share

LOW, MIDDLE, HIGH = 0.2, 0.55, 0.9
NEAR = 0.02
LOWEST, BETWEEN = "lowest safe", "between"
Row = dict[str, Any]


def comparison_of(
    study: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    subjects: Subjects,
    energy: EnergyOptions | None = None,
) -> Comparison:
    """Designs of some networks on a device, by the surfaces alone."""
    return compare(
        study,
        networks,
        DecisionOptions(
            requirement=subjects.requirement, sensing=SensingOptions(), energy=energy, seed=SEED
        ),
    )


def planned(comparison: Comparison) -> list[Row]:
    """What is promised for each design: one row for each place at which chips are asked."""
    return [row for design in comparison.designs for row in _places(comparison, design)]


def _places(comparison: Comparison, design: Design) -> Iterator[Row]:
    c, p_met = comparison, design.p_met
    known = known_share(c, design) >= LEAST_KNOWN
    here = {
        "network": design.network,
        "storage": design.scheme,
        "safe": design.safe.lowest is not None,
        "known": known,
        "wanted": c.requirement.probability,
        "limit": design.chip_yield.limit,
    }
    inside = np.flatnonzero((p_met >= LOW) & (p_met <= HIGH))
    at = {
        LOWEST: design.place(c.grid) if here["safe"] else None,
        BETWEEN: int(inside[np.argmin(np.abs(p_met[inside] - MIDDLE))]) if len(inside) else None,
    }
    for kind, x in at.items():
        promise = (
            {}
            if x is None
            else {
                "programming": float(c.grid[x]),
                "promise": float(p_met[x]),
                "error_of_draws": float(design.chip_yield.monte_carlo_error[x]),
                "error_of_surface": surface_error(c, design, x),
            }
        )
        yield {**here, "kind": kind, **promise}


def surface_error(
    comparison: Comparison, design: Design, at: int, *, surfaces: int = 60, devices: int = 200
) -> float:
    """Standard deviation of the promise at a grid place over draws of the surface.

    All of them get the same draws of the device, so that only the surface differs.
    """
    c, surface = comparison, comparison.curves[design.network]
    seen = c.seen[design.storage].at(slice(at, at + 1))
    of_device = np.linspace(0, len(seen.ln_ber) - 1, devices).round().astype(np.int64)
    of_surface = np.linspace(0, surface.draws - 1, surfaces).round().astype(np.int64)
    n = surfaces * devices
    pairing = Pairing(
        np.tile(of_device, surfaces),
        np.repeat(of_surface, devices),
        *(np.zeros((n, k)) for k in (2, 3, 2)),
    )
    share = np.nan_to_num(share_within(surface, seen, pairing, design.chip_yield.limit))
    return float(share.reshape(surfaces, devices).mean(axis=1).std(ddof=1))


def judged(row: Row, met: int, chips: int) -> Row:
    """A place with what chips say of it."""
    lot = Lot(row["programming"], chips, met)
    likely = (met + 0.5) / (chips + 1)  # no error of zero where all chips agree
    of_chips = math.sqrt(likely * (1 - likely) / chips)
    error = math.hypot(of_chips, row["error_of_draws"], row["error_of_surface"])
    difference = lot.share - row["promise"]
    return {
        **row,
        "chips": chips,
        "met": met,
        "share": lot.share,
        "error_of_chips": of_chips,
        "difference": difference,
        "z": difference / error,
        "kept": bool(abs(difference) <= max(NEAR, 3 * error)),
        "refused": bool(row["kind"] == LOWEST and lot.interval[1] < row["wanted"]),
    }


def count_place(
    row: Row, subject: Confirmable, study: DeviceStudy, *, chips: int, threads: int
) -> Row:
    """Fresh chips at one place."""
    storage = next(s for s in STORAGES if s.name == row["storage"])
    confirming = Confirming({}, study.main, threads=threads)
    of = DesignChips(subject, storage, SensingOptions(), "LRS", confirming)
    seed = zlib.crc32(json.dumps(key_of(row)).encode())
    start = time.perf_counter()
    losses = of.losses(row["programming"], chips, seed, 0)
    seconds = time.perf_counter() - start
    meets = losses <= row["limit"] + ROUNDING
    found = judged(row, int(meets.sum()), chips)
    if confirming.arrays.are_tallied:
        at = np.array([confirming.arrays.of(seed, k)[0] for k in range(chips)])
        on = {name: meets[at == k] for k, name in enumerate(confirming.arrays.names)}
        if confirming.arrays.in_turn:
            # the promise is that of the array with the fewest good chips
            worst = min(on.values(), key=np.mean)
            found = judged(row, int(worst.sum()), len(worst))
        found["share_by_array"] = {name: float(good.mean()) for name, good in on.items()}
    return {**found, "seconds": seconds}


def key_of(row: Row) -> list[str]:
    """What tells a place from others."""
    return [row[k] for k in ("device", "networks", "network", "storage", "kind")]


def in_turns(rows: Sequence[Row], turns: int = len(STORAGES)) -> list[Row]:
    """Rows in an order of which a beginning has every device, network and storage in it.

    In each turn a network has one storage on a device, another one than other networks there.
    """
    orders: dict[str, dict[str, int]] = {"device": {}, "networks": {}, "network": {}}
    names = [s.name for s in STORAGES]

    def turn(row: Row) -> int:
        places = [orders[k].setdefault(row[k], len(orders[k])) for k in orders]
        return (names.index(row["storage"]) + sum(places)) % turns

    return sorted(rows, key=turn)


def count_all(
    rows: Iterable[Row],
    store: Path,
    count: Callable[[Row], Row],
    *,
    until: float,
    say: Callable[[str], None],
) -> list[Row]:
    """Count the places that `store` does not have yet, and write each there at once.

    What was counted for another promise or programming value is counted again. `until` is the
    time of :func:`time.monotonic` after which no further place is begun.
    """
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    done = {json.dumps(key_of(row)): row for row in map(json.loads, lines)}
    found = []
    for row in rows:
        old = done.get(json.dumps(key_of(row)))
        if old is not None and all(old.get(name) == value for name, value in row.items()):
            found.append(old)
        elif time.monotonic() < until:
            found.append(count(row))
            with store.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[-1]) + "\n")
            say(_line(found[-1]))
    return found


def _line(row: Row) -> str:
    return (
        f"{'   ' if row['kept'] else '!! '}{row['device']}; {row['network']}, {row['networks']}, "
        f"{row['storage']}, {row['kind']}: promise {row['promise']:.3f}, share {row['share']:.3f}, "
        f"z {row['z']:.1f} ({row['chips']} chips, {row['seconds']:.1f} s)"
    )


def summary(planned_rows: Sequence[Row], counted: Sequence[Row]) -> dict[str, Any]:
    """How many promises were kept, of all and by device; designs that are safe, refused, unknown.

    Parameters
    ----------
    planned_rows, counted : sequence of dict
        All places, and those that chips were counted at.
    """
    found: dict[str, Any] = {"all": _kept(counted)}
    for name in ("kind", "networks", "storage"):
        groups = dict.fromkeys(row[name] for row in counted)
        found[name] = {g: _kept([row for row in counted if row[name] == g]) for g in groups}
    found["devices"] = {}
    for device in dict.fromkeys(row["device"] for row in planned_rows):
        designs = [r for r in planned_rows if r["device"] == device and r["kind"] == LOWEST]
        here = [row for row in counted if row["device"] == device]
        asked = [row for row in here if row["kind"] == LOWEST]
        found["devices"][device] = {
            "designs": len(designs),
            "safe_by_surfaces": sum(row["safe"] for row in designs),
            "not_known": sum(not row["known"] for row in designs),
            "safe_and_asked_of_chips": len(asked),
            "refused_by_chips": sum(row["refused"] for row in asked),
            **_kept(here),
        }
    worst = sorted(counted, key=lambda row: (row["kept"], -abs(row["z"])))
    found["worst"] = worst[:10]
    return found


def _kept(rows: Sequence[Row]) -> dict[str, Any]:
    if not rows:
        return {"places": 0}
    z = np.array([row["z"] for row in rows])
    difference = np.array([row["difference"] for row in rows])
    return {
        "places": len(rows),
        "kept": sum(row["kept"] for row in rows),
        "chips": sum(row["chips"] for row in rows),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference[np.abs(difference).argmax()]),
        "rms_z": float(np.sqrt((z**2).mean())),
        "largest_z": float(z[np.abs(z).argmax()]),
    }
