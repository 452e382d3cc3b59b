"""Do posteriors of simulated devices hold their truth as often as they promise?

Question
    Simulation-based calibration of every family of device models: over data sets simulated from
    the priors, are the ranks of the true parameters and of the true ln BER (1T1R at a fixed
    threshold and 2T2R, three programming values) uniform, and do 90 % intervals of BER cover
    between 85 and 95 %?

Inputs
    None. Everything here is simulated: truth from the priors of each family, readings from its
    law, in the designs of ``devicefit.simulation.calibration``.

Seed
    Data set ``k`` has seed ``k`` for its truth, its readings and its chains.

Outputs
    ``analyses/results/device_calibration/DESIGN_FAMILY.jsonl``: a line for each data set; a run
    that is interrupted goes on where it stopped. ``summary.json`` there: p values and coverage.

A control runs along: the same posteriors with their draws twice as close to their mean must fail.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from devicefit.families.registry import FAMILIES
from devicefit.sampling.prior import prior_record
from devicefit.simulation.calibration import CURRENT_DESIGN, GATE_DESIGN, SAMPLER, recoveries
from devicefit.simulation.ranks import RankStudy

HERE = Path(__file__).resolve().parent
DESIGNS = {"current": CURRENT_DESIGN, "gate": GATE_DESIGN}
COVERAGE = (0.85, 0.95)
P_LIMIT = 0.01


def fingerprint(family: str, design: str) -> str:
    """Hash of what a study must not change on its way: priors, design and sampler."""
    priors = [
        {k: row[k] for k in ("name", "mean", "sd", "size")}
        for row in prior_record(FAMILIES[family].priors(DESIGNS[design].frame))
    ]
    text = json.dumps([priors, repr(DESIGNS[design]), repr(SAMPLER)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_lines(path: Path, mark: str) -> list[dict[str, Any]]:
    """Data sets that are done; refuses those of other priors, design or sampler."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A line that was being written when the run stopped is done again.
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    rows = [json.loads(line) for line in whole]
    if any(row["fingerprint"] != mark for row in rows):
        raise SystemExit(
            f"{path} is of other priors, another design or sampler; move it away to start anew"
        )
    return rows


def run(family: str, design: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Fit the data sets that are missing, a line for each."""
    path = arguments.out / f"{design}_{family}.jsonl"
    mark = fingerprint(family, design)
    rows = read_lines(path, mark)
    done = {row["number"] for row in rows}
    missing = [k for k in range(arguments.data_sets) if k not in done]
    start = time.perf_counter()
    found = recoveries(family, DESIGNS[design], missing, workers=arguments.workers)
    with path.open("a", encoding="utf-8") as file:
        for count, recovery in enumerate(found if missing else (), start=1):
            row = {"fingerprint": mark, **recovery.record()}
            control = recovery.record(narrow=2.0)
            row["control"] = {k: control[k] for k in ("ranks", "inside")}
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            seconds = (time.perf_counter() - start) / count
            print(f"{design} {family}: {count} of {len(missing)}, {seconds:.1f} s each", flush=True)
    return [row for row in rows if row["number"] < arguments.data_sets]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """P values, coverage, verdicts and convergence of one study."""
    study = RankStudy.from_records(rows)
    control = RankStudy.from_records([{**row, **row["control"]} for row in rows])
    covered = {
        name: float(c)
        for name, c in zip(study.names, study.coverage, strict=True)
        if name.startswith("ln BER")
    }
    return {
        **study.record(),
        "ber_coverage": covered,
        "passed": {
            "ranks": study.corrected_p > P_LIMIT,
            "coverage": all(COVERAGE[0] <= c <= COVERAGE[1] for c in covered.values()),
            "control_fails": control.corrected_p <= P_LIMIT,
        },
        "not_converged": sum(row["r_hat"] >= 1.05 for row in rows),
        "with_divergences": sum(row["divergences"] > 0 for row in rows),
        "redraws": sum(row["redraws"] for row in rows),
    }


def main() -> int:
    """Run the study; data sets already in the output are kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=200)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--designs", nargs="+", default=["current"], choices=list(DESIGNS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "device_calibration")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    studies = {}
    for design in arguments.designs:
        for family in arguments.families:
            rows = run(family, design, arguments)
            if len(rows) < 10:
                print(f"{design} {family}: {len(rows)} data sets are too few to judge")
                continue
            studies[f"{design} {family}"] = found = summary(rows)
            print(f"{design} {family}: {json.dumps(found['passed'])}", flush=True)
    note = "simulated data sets; p values are corrected for the number of quantities"
    text = json.dumps({"note": note, "studies": studies}, indent=1) + "\n"
    (arguments.out / "summary.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
