"""What do measured endurance and bakes say about bit errors at the end of a life?

Questions
    Endurance: how do bit errors grow with cycles (EMBER, one group of 256 cells to 1.06 million
    cycles), what wears out as one unit, and does a fit to the first cycles predict the rest?
    Retention: what do bakes at 100 to 260 degrees Celsius (RADAR and SAPIENS, 16,384 cells each)
    say about ten years at 85, and what does the answer rest on?
    Trade-off: where programming and life were measured on one chip (SAPIENS, SET gate voltage),
    which gate voltage has the fewest errors after how many cycles? Elsewhere: what is the
    assumption worth with which wear at one programming is carried to others?

Inputs
    ``devices/ember_40nm_endurance``, ``devices/radar_write_verify_retention`` and
    ``devices/sapiens_40nm`` under ``--data``.

Choices
    EMBER: read codes against the code with the fewest errors between 2,000 and 100,000 cycles;
    cycles below 2,000 are left out (cells still settle). Bakes: LRS is the most conductive fifth
    and HRS the least conductive tenth of the cells before each bake, the threshold lies in the
    middle between them; so there is no error before a bake by choice. The duration of the bakes
    is not recorded: the time between the two readings stands for it, which is too long. SAPIENS
    cells count as worn out from the reading on after which more than half fail (HRS below 15 kohm
    or LRS above 30 kohm), at least ten readings.

Seed
    1 for everything.

Outputs
    ``analyses/results/endurance_retention.json`` and ``.png``; no readings.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from devicefit.distributions.separation import best_threshold
from devicefit.inputs.programming import Programming
from devicefit.life.endurance import EnduranceCounts, count_windows
from devicefit.life.retention import BakeCounts
from devicefit.life.study import (
    LIFE_SAMPLER,
    STATES,
    CycledCells,
    Endurance,
    Retention,
    band,
    study_endurance,
    study_retention,
    study_wear_out,
)
from devicefit.life.wear_out import LAWS, WearOutTable
from devicefit.numerics.intervals import clopper_pearson
from reliability.life.factors import endurance_factor, retention_factor, wear_out_factor
from reliability.life.required import YEAR_S

HERE = Path(__file__).resolve().parent
SEED = 1
SAMPLER = replace(LIFE_SAMPLER, draws=1500, target_accept=0.98, seed=SEED)
FIRST_CYCLES = 2000
GATE = Programming("SET gate voltage", "V")
KELVIN = 273.15
USES = ((10.0, 85.0), (10.0, 55.0), (1.0, 55.0))


def ember_counts(data: Path, unit: str) -> tuple[dict[str, EnduranceCounts], int]:
    """Counts of both states by unit, and the code they are compared with."""
    table = pd.read_parquet(data / "ember_40nm_endurance" / "endurance_codes.parquet")
    table = table[(table["word"] >= 10900) & (table["cycle"] >= FIRST_CYCLES)]
    early = table[table["cycle"] < 1e5]
    code = min(
        range(1, 64),
        key=lambda c: (
            (early["code_after_set"] < c).mean() + (early["code_after_reset"] >= c).mean()
        ),
    )
    wrong = {"LRS": table["code_after_set"] < code, "HRS": table["code_after_reset"] >= code}
    names = table[unit].astype(str)
    return {s: count_windows(names, table["cycle"], wrong[s]) for s in STATES}, code


def alike(data: Path) -> float:
    """Correlation of the codes after SET of cells of one bit column in different words."""
    table = pd.read_parquet(data / "ember_40nm_endurance" / "endurance_codes.parquet")
    table = table[(table["word"] >= 10900) & (table["cycle"] >= FIRST_CYCLES)]
    wide = table.pivot_table(index=["cycle", "bit"], columns="word", values="code_after_set")
    # Between bit columns codes differ anyway: take each column's own mean away.
    own = wide - wide.groupby("bit").transform("mean")
    matrix = np.corrcoef(own.to_numpy().T)
    return float(matrix[np.triu_indices(len(matrix), 1)].mean())


def endurance_record(study: Endurance) -> dict[str, Any]:
    """Plain values."""
    at = (1e4, 1e5, 1e6, 1e7)
    return {
        "ber": [
            {"cycles": c, "extrapolated": bool(c > study.cycles_high), **band(study.ber(c))}
            for c in at
        ],
        "units": study.states["LRS"].fitted.record["units"],
        "checks": study.record["checks"],
        "gates": study.record["gates"],
    }


def bakes(data: Path, folder: str) -> tuple[dict[str, BakeCounts], pd.DataFrame, float]:
    """Counts before and after each bake, paired readings, threshold."""
    table = pd.read_parquet(data / folder / "bake_32level.parquet")
    hours = table.groupby("bake_temperature_c", observed=True)["time_since_first_read_s"].max()
    pairs = table.pivot_table(
        index=["bake_temperature_c", "device_id"],
        columns="phase",
        values="resistance_ohm",
        observed=True,
    ).reset_index()
    rank = pairs.groupby("bake_temperature_c")["before_bake"].rank(pct=True)
    pairs = pairs.assign(rank=rank, state=np.where(rank <= 0.2, "LRS", "between"))
    pairs.loc[rank > 0.9, "state"] = "HRS"
    fresh = {s: np.log(pairs["before_bake"][pairs["state"] == s].to_numpy()) for s in STATES}
    threshold = float(np.exp(best_threshold(fresh["LRS"], fresh["HRS"])))
    counts = {}
    for state in STATES:
        rows = []
        for celsius, part in pairs[pairs["state"] == state].groupby("bake_temperature_c"):
            for seconds, column in ((0.0, "before_bake"), (hours[celsius], "after_bake")):
                high = part[column] > threshold
                errors = int((high if state == "LRS" else ~high).sum())
                rows.append((seconds, float(celsius) + KELVIN, errors, len(part)))
        t, k, e, n = (np.array(column) for column in zip(*rows, strict=True))
        counts[state] = BakeCounts(t, k, e, n)
    return counts, pairs, threshold


def drift(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Median and spread of ln(R after / R before) for each bake and state."""
    ln_ratio = np.log(pairs["after_bake"] / pairs["before_bake"])
    rows = []
    for (celsius, state), part in ln_ratio.groupby([pairs["bake_temperature_c"], pairs["state"]]):
        if state == "between":
            continue
        low, middle, high = np.quantile(part, [0.1587, 0.5, 0.8413])
        rows.append(
            {
                "temperature_c": int(celsius),
                "state": state,
                "median_ln_ratio": float(middle),
                "half_width_68": float((high - low) / 2),
            }
        )
    return rows


def by_strength(pairs: pd.DataFrame, threshold: float) -> list[dict[str, Any]]:
    """Errors after a bake by how conductive the LRS was programmed: programming and retention."""
    rows = []
    for low, high in ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5)):
        group = pairs[(pairs["rank"] > low) & (pairs["rank"] <= high)]
        for celsius in (180, 220, 260):
            part = group[group["bake_temperature_c"] == celsius]
            errors = int((part["after_bake"] > threshold).sum())
            rows.append(
                {
                    "most_conductive_share": [low, high],
                    "median_before_ohm": float(f"{part['before_bake'].median():.3g}"),
                    "temperature_c": celsius,
                    "errors_before": int((part["before_bake"] > threshold).sum()),
                    "errors": errors,
                    "trials": len(part),
                    "share": clopper_pearson(errors, len(part)).record(),
                }
            )
    return rows


def retention_record(study: Retention) -> dict[str, Any]:
    """Plain values."""
    uses = []
    for years, celsius in USES:
        seconds, kelvin = years * YEAR_S, celsius + KELVIN
        rests = {s: vars(p.extrapolation(seconds, kelvin)) for s, p in study.states.items()}
        uses.append(
            {
                "years": years,
                "temperature_c": celsius,
                "ber": band(study.ber(seconds, kelvin)),
                "share_wrong": {s: band(p.ber(seconds, kelvin)) for s, p in study.states.items()},
                "rests_on": rests,
            }
        )
    parameters = {
        s: {
            "activation_ev": band(np.exp(p.fitted["ln_activation_ev"])),
            "power_of_time": band(np.exp(p.fitted["ln_exponent"])),
            "product_ev": band(np.exp(p.fitted["ln_activation_ev"] + p.fitted["ln_exponent"])),
        }
        for s, p in study.states.items()
    }
    return {
        "uses": uses,
        "parameters": parameters,
        "checks": study.record["checks"],
        "gates": study.record["gates"],
    }


def worn_out_cells(data: Path) -> WearOutTable:
    """When each of the cells cycled at one gate voltage wore out."""
    table = pd.read_csv(data / "sapiens_40nm" / "cycling.csv.gz")
    table = table[table["run"] == "gate_voltage_endurance"]
    rows = []
    for volt, part in table.groupby("set_gate_voltage_v"):
        wide = part.pivot_table(index="cycle", columns="state", values="resistance_ohm").dropna()
        bad = ((wide["HRS"] < 15e3) | (wide["LRS"] > 30e3)).to_numpy()
        left = np.cumsum(bad[::-1])[::-1] / np.arange(len(bad), 0, -1)
        first = np.flatnonzero(bad & (left > 0.5) & (np.arange(len(bad)) <= len(bad) - 10))
        at = wide.index.to_numpy(dtype=float)
        if len(first):
            k = int(first[0])
            rows.append((volt, at[k - 1] if k else 0.0, at[k], 1, 0))
        else:
            rows.append((volt, 0.0, at[-1], 0, 1))
    x, before, cycles, failed, left_over = (np.array(c) for c in zip(*rows, strict=True))
    return WearOutTable(x, before, cycles, failed, left_over, GATE)


def fresh_errors(data: Path) -> tuple[pd.DataFrame, float]:
    """Errors of fresh SAPIENS cells by SET gate voltage, bit line 2 V and above."""
    table = pd.read_csv(data / "sapiens_40nm" / "pulse_sweep.csv.gz")
    table = table[(table["pulse"] == "SET") & (table["bl_voltage_v"] >= 2.0 - 1e-9)]
    table = table.assign(volt=np.round(np.floor(table["gate_voltage_v"] * 5 + 1e-6) / 5 + 0.1, 2))
    after, before = (table[table["phase"] == p] for p in ("after_pulse", "before_pulse"))
    strong = after["gate_voltage_v"] >= 1.2
    threshold = np.exp(
        best_threshold(
            np.log(after["resistance_ohm"][strong].to_numpy()),
            np.log(before["resistance_ohm"].to_numpy()),
        )
    )
    set_failed = (after["resistance_ohm"] > threshold).groupby(after["volt"])
    reset_failed = before["resistance_ohm"] < threshold
    frame = set_failed.agg(["sum", "size"]).reset_index()
    return frame.assign(hrs_errors=int(reset_failed.sum()), hrs_trials=len(before)), threshold


def over_gate_voltage(
    fresh: pd.DataFrame, cells: CycledCells, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], dict[float, np.ndarray]]:
    """BER over gate voltage after cycles, and the best gate voltage; draws for the figure."""
    x = fresh["volt"].to_numpy()
    number = cells.wear_out.fitted.diagnostics.draws
    lrs = rng.beta(fresh["sum"] + 0.5, fresh["size"] - fresh["sum"] + 0.5, (number, len(x)))
    e, n = fresh["hrs_errors"].iloc[0], fresh["hrs_trials"].iloc[0]
    hrs = rng.beta(e + 0.5, n - e + 0.5, (number, 1))
    ln_fresh = np.log((lrs + hrs) / 2)
    rows, draws = [], {}
    for cycles in (0.0, 1e4, 1e5, 1e6, 1e7):
        aged = ln_fresh if not cycles else wear_out_factor(cells, cycles, x).ln_ber(ln_fresh)
        best = x[aged.argmin(axis=1)]
        values, share = np.unique(best, return_counts=True)
        most = values[share.argmax()]
        draws[cycles] = np.exp(aged)
        rows.append(
            {
                "cycles": cycles,
                "gate_voltage_v": x.tolist(),
                "ber": [band(np.exp(aged[:, i])) for i in range(len(x))],
                "best_gate_voltage_v": float(most),
                "best_with_probability": float(share.max() / share.sum()),
                "best_low_high_90": np.quantile(best, [0.05, 0.95]).tolist(),
            }
        )
    return rows, draws


def transfer(endurance: Endurance, cycles: float) -> list[dict[str, Any]]:
    """BER at the end of life for several fresh BER, under three ways to carry wear over."""
    start, end = endurance.ber(endurance.cycles_low).ravel(), endurance.ber(cycles).ravel()
    mixed = endurance_factor(endurance, cycles)
    rows = []
    for fresh in (1e-6, 1e-4, 1e-2, 0.1):
        margin = ndtr(ndtri(fresh) + np.maximum(ndtri(end) - ndtri(start), 0))
        added = fresh + (1 - fresh) * np.maximum(end - start, 0) / (1 - start)
        both = np.exp(mixed.ln_ber(np.full((len(mixed.shift), 1), np.log(fresh))))
        rows.append(
            {
                "fresh_ber": fresh,
                "worn share added, drift as margin (used)": band(both),
                "all as lost margin": band(margin),
                "all as added failures": band(added),
            }
        )
    return rows


def rewritten(data: Path) -> list[dict[str, Any]]:
    """Write-verify at 300 and 8,000 cycles: errors between the outer levels, and pulses."""
    table = pd.read_parquet(data / "radar_write_verify_retention" / "write_verify.parquet")
    table = table[(table["bits_per_cell"] == 2) & table["target_level"].isin([0, 3])]
    table = table[table["resistance_ohm"].notna()]
    pulses = table["n_set_pulses"] + table["n_reset_pulses"]
    rows = []
    for key, part in table.groupby(["algorithm", "chip", "prior_cycles"]):
        lrs = part["target_level"] == 0
        wrong = np.where(lrs, part["resistance_ohm"] > 2e4, part["resistance_ohm"] <= 2e4)
        rows.append(
            {
                "algorithm": key[0],
                "chip": key[1],
                "prior_cycles": int(key[2]),
                "lrs_errors": int(wrong[lrs].sum()),
                "lrs_trials": int(lrs.sum()),
                "hrs_errors": int(wrong[~lrs].sum()),
                "hrs_trials": int((~lrs).sum()),
                "pulses_lrs": float(pulses[part.index][lrs].mean()),
                "pulses_hrs": float(pulses[part.index][~lrs].mean()),
            }
        )
    return rows


def figure(
    ember: Endurance,
    ember_cells: dict[str, EnduranceCounts],
    baked: dict[str, tuple[Retention, dict[str, BakeCounts]]],
    cells: CycledCells,
    table: WearOutTable,
    over: tuple[np.ndarray, dict[float, np.ndarray]],
) -> Any:
    """Four panels."""
    canvas, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    ax = axes[0, 0]
    path = np.geomspace(FIRST_CYCLES, 1e8, 120)
    low, middle, high = np.quantile(ember.ber(path), [0.05, 0.5, 0.95], axis=(0, 1))
    inside = path <= ember.cycles_high
    ax.fill_between(path, low, high, color="C0", alpha=0.2, lw=0)
    ax.plot(path[inside], middle[inside], "C0", label="posterior median, 90 % ETI")
    ax.plot(path[~inside], middle[~inside], "C0--", label="beyond the measured cycles")
    share = np.mean(
        [c.errors.sum(axis=0) / c.trials.sum(axis=0) for c in ember_cells.values()], axis=0
    )
    ax.plot(ember_cells["LRS"].cycles, share, "ko", ms=4, label="counted, 16 bit columns")
    ax.set(xscale="log", yscale="log", xlabel="cycles", ylabel="BER", title="EMBER endurance")
    ax.legend(fontsize=8)
    ax = axes[0, 1]
    study, counts = baked["radar"]
    kelvin = np.linspace(300, 540, 100)
    for state, colour in (("LRS", "C0"), ("HRS", "C3")):
        c = counts[state]
        after = c.time_s > 0
        one = clopper_pearson(c.errors[after], c.trials[after])
        at, share = c.temperature_k[after] - KELVIN, c.errors[after] / c.trials[after]
        zero = c.errors[after] == 0
        ax.plot(at[zero], one.high[zero], "v", color=colour, mfc="none")
        ax.errorbar(
            at[~zero],
            share[~zero],
            [share[~zero] - one.low[~zero], one.high[~zero] - share[~zero]],
            fmt="o",
            color=colour,
            ms=4,
        )
        for seconds, style in ((5000.0, "-"), (10 * YEAR_S, "--")):
            low, middle, high = np.quantile(
                study.states[state].ber(seconds, kelvin), [0.05, 0.5, 0.95], axis=(0, 1)
            )
            name = "1.4 h" if style == "-" else "10 years, extrapolated"
            ax.plot(kelvin - KELVIN, middle, style, color=colour, label=f"{state}, {name}")
            ax.fill_between(kelvin - KELVIN, low, high, color=colour, alpha=0.12, lw=0)
    ax.axvline(85, color="0.6", lw=0.8)
    ax.set(yscale="log", ylim=(1e-6, 1.5), xlabel="temperature / °C", ylabel="share wrong")
    ax.set_title("RADAR bakes (triangles: zero errors, 90 % upper limit)")
    ax.legend(fontsize=8)
    ax = axes[1, 0]
    x = np.linspace(table.x.min(), table.x.max(), 80)
    low, middle, high = np.quantile(cells.wear_out.median_cycles(x), [0.05, 0.5, 0.95], axis=(0, 1))
    ax.fill_between(x, low, high, color="C2", alpha=0.2, lw=0)
    ax.plot(x, middle, "C2", label="median cell, 90 % ETI")
    dead = table.failed > 0
    ax.plot(table.x[dead], table.cycles[dead], "kv", ms=5, label="worn out by")
    ax.plot(table.x[~dead], table.cycles[~dead], "k^", mfc="none", ms=5, label="survived")
    ax.axhline(table.cycles.max(), color="0.6", lw=0.8)
    ax.set(yscale="log", xlabel="SET gate voltage / V", ylabel="cycles to wear-out")
    ax.set_title("SAPIENS, one cell per gate voltage")
    ax.legend(fontsize=8)
    ax = axes[1, 1]
    volts, draws = over
    for i, (cycles, ber) in enumerate(draws.items()):
        low, middle, high = np.quantile(ber, [0.05, 0.5, 0.95], axis=0)
        name = "fresh" if not cycles else f"after {cycles:.0e} cycles"
        ax.plot(volts, middle, f"C{i}o-", ms=3, label=name)
        ax.fill_between(volts, low, high, color=f"C{i}", alpha=0.12, lw=0)
    ax.set(yscale="log", xlabel="SET gate voltage / V", ylabel="BER")
    ax.set_title("SAPIENS: programming trade-off over life, 90 % ETI")
    ax.legend(fontsize=8)
    return canvas


def main() -> int:
    """Run the analysis from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="has devices/")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "endurance_retention.json")
    arguments = parser.parse_args()
    data = arguments.data / "devices"
    rng = np.random.default_rng([SEED, 1])
    counts, code = ember_counts(data, "bit")
    ember = study_endurance(counts, options=SAMPLER, about={"source": "EMBER"})
    print("EMBER by bit column done", flush=True)
    single = study_endurance(
        ember_counts(data, "device_id")[0],
        options=replace(SAMPLER, draws=500, warmup=400, target_accept=0.9),
        about={"source": "EMBER, by cell"},
    )
    print("EMBER by cell done", flush=True)
    values: dict[str, Any] = {
        "ember": {
            "threshold_code": code,
            "correlation_of_words_in_a_bit_column": alike(data),
            "unit_bit_column": endurance_record(ember),
            "unit_cell": endurance_record(single),
        }
    }
    baked = {}
    for name, folder in (("radar", "radar_write_verify_retention"), ("sapiens", "sapiens_40nm")):
        bake, pairs, threshold = bakes(data, folder)
        study = study_retention(bake, options=SAMPLER, about={"source": f"{name} bakes"})
        baked[name] = study, bake
        values[f"{name}_bakes"] = {
            "threshold_ohm": float(f"{threshold:.4g}"),
            **retention_record(study),
            "drift": drift(pairs),
        }
        if name == "radar":
            values["radar_bakes"]["by_lrs_strength"] = by_strength(pairs, threshold)
        print(f"{name} bakes done", flush=True)
    values["radar_write_verify"] = rewritten(data)
    table = worn_out_cells(data)
    volts = [1.0, 1.3, 1.6, 2.0, 2.4]
    laws = {}
    for law in LAWS:
        found = study_wear_out(table, law=law, options=SAMPLER, about={"source": "SAPIENS"})
        laws[law] = found
        values[f"sapiens_wear_out_{law}"] = {
            "cells": table.cells,
            "failed": int(table.failed.sum()),
            "median_cycles": [
                {"gate_voltage_v": v, **band(found.wear_out.median_cycles(v))} for v in volts
            ],
            "cycles_to_1_percent_worn": [
                {"gate_voltage_v": v, **band(found.wear_out.cycles_to_share(v, 0.01))}
                for v in volts
            ],
            "factor_per_0.1_v": band(
                np.exp(found.wear_out.fitted["slope"] * 0.2 / (table.x.max() - table.x.min()))
            ),
            "gates": found.record["gates"],
        }
    fresh, threshold = fresh_errors(data)
    rows, draws = over_gate_voltage(fresh, laws["lognormal"], rng)
    values["sapiens_trade_off"] = {"threshold_ohm": float(f"{threshold:.4g}"), "over_life": rows}
    values["carrying_over"] = {
        "endurance_1e6_cycles": transfer(ember, 1e6),
        "retention_10_years_85_c": retention_factor(
            baked["radar"][0], 10 * YEAR_S, 85 + KELVIN
        ).record(),
    }
    arguments.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    canvas = figure(
        ember, counts, baked, laws["lognormal"], table, (fresh["volt"].to_numpy(), draws)
    )
    canvas.savefig(arguments.out.with_suffix(".png"), dpi=110)
    print(f"results: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
