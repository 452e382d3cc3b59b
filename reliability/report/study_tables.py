"""Tables of data, device model, networks and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devicefit.inputs.programming import Programming
from reliability.report.figures.drawing import programming_words
from reliability.report.figures.words import (
    estimate,
    estimated_rate,
    interval_name,
    number,
    percent,
    plain,
    rate,
    with_interval,
)
from reliability.report.table import Table


def gate_table(values: Mapping[str, Any]) -> Table:
    """All gates; what to do where one failed."""
    rows = tuple(
        (
            gate["name"],
            gate["question"],
            gate["finding"],
            number(gate["limit"]),
            "passed" if gate["passed"] else f"FAILED. What to do: {gate['remedy']}.",
        )
        for gate in values["gates"]
    )
    return Table(
        "Gates: checks of the fits, all of which must pass.",
        ("Gate", "Question", "Finding", "Limit", "Verdict"),
        rows,
        words=5,
    )


def diagnostics_table(device: Mapping[str, Any]) -> Table:
    """Sampler diagnostics of each family."""
    rows = []
    for name, family in device["families"].items():
        d, sampler = family["diagnostics"], family["sampler"]
        effect = ", ".join(f"{s} {number(v, 2)}" for s, v in family["design_effect"].items())
        rows.append(
            (
                name,
                f"{sampler['name']}, {sampler['chains']} chains",
                f"{d['draws']}",
                number(d["r_hat"], 4),
                f"{d['bulk_ess']:.0f}",
                f"{d['tail_ess']:.0f}",
                f"{d['divergences']}",
                effect,
            )
        )
    header = (
        "Family",
        "Sampler",
        "Draws",
        "R-hat",
        "Bulk ESS",
        "Tail ESS",
        "Divergences",
        "Design effect",
    )
    return Table(
        "Convergence of each fitted family. ESS: effective sample size. Design effect: readings "
        "divided by it count as independent, because readings of one device are alike.",
        header,
        tuple(rows),
        words=2,
    )


def prior_table(parameters: Mapping[str, Mapping[str, Any]]) -> Table:
    """Priors with their sources beside the posteriors."""
    rows = tuple(
        (
            record["prior"]["meaning"],
            f"{plain(record['prior']['mean'])} ± {plain(record['prior']['sd'])}",
            _posterior(record["posterior"]),
            record["prior"]["source"],
        )
        for record in parameters.values()
    )
    kinds = {interval_name(r["posterior"]) for r in parameters.values()}
    return Table(
        f"Priors (mean ± standard deviation) and posteriors (median, {', '.join(sorted(kinds))}).",
        ("Parameter", "Prior", "Posterior", "Source of the prior"),
        rows,
    )


def _posterior(record: Mapping[str, Any]) -> str:
    """Median and interval; of a vector how many values and the range of their medians."""
    medians = record["median"]
    if isinstance(medians, list):
        return f"{len(medians)} values, medians {plain(min(medians))} to {plain(max(medians))}"
    return with_interval(record, plain)


def count_table(counts: Mapping[str, Any], programming: Programming) -> Table:
    """Counted errors of each group of conditions with exact intervals."""
    exact = counts["share"]
    rows = []
    for g, value in enumerate(exact["value"]):
        lower, upper = exact["low"][g], exact["high"][g]
        trials = counts["trials"]["LRS"][g] + counts["trials"]["HRS"][g]
        if trials == 0:
            text = "no readings"
        elif value == 0:
            text = f"< {estimated_rate(upper)}"
        elif value == 1:
            text = f"> {estimated_rate(lower)}"
        else:
            text = with_interval({"median": value, "low": lower, "high": upper}, estimated_rate)
        rows.append(
            (
                programming_words(
                    programming, counts["programming_low"][g], counts["programming_high"][g]
                ),
                f"{counts['devices'][g]:,}",
                *(
                    f"{counts['errors'][s][g]:,} / {counts['trials'][s][g]:,}"
                    for s in ("LRS", "HRS")
                ),
                text,
            )
        )
    return Table(
        "Readings on the wrong side of the 1T1R threshold, both states pooled "
        f"({interval_name(exact)}, exact; zero errors: one-sided upper limit of the same "
        "probability).",
        ("Conditions", "Devices", "LRS errors / readings", "HRS errors / readings", "Share wrong"),
        tuple(rows),
    )


def network_table(values: Mapping[str, Any]) -> Table:
    """Size, training, error-free accuracy and tolerated BER of each network."""
    rows = []
    for name, network in values["networks"].items():
        record = network["training"]
        sizes = (record.get("architecture") or {}).get("sizes")
        training = record.get("training") or {}
        ber = training.get("ber")
        trained = "not recorded"
        if ber is not None:
            low = training.get("ber_from")
            trained = f"at BER {rate(ber)}" if ber else "without errors"
            if low is not None:
                trained = f"at BER {rate(low)} to {rate(ber)}"
            if training.get("margin"):
                trained += f", margin {number(training['margin'])}"
            trained += f", {training['epochs']} epochs" if "epochs" in training else ""
        tolerated = values["tolerated_ber"][name]
        rows.append(
            (
                name,
                "-".join(str(s) for s in sizes) if sizes else "not recorded",
                (record.get("image_set") or {}).get("name", "not recorded"),
                trained,
                f"{network['weights']:,}",
                network["protected"] or "none",
                f"{network['error_free_correct']:,} of {network['images']:,} "
                f"({percent(network['error_free_accuracy'])})",
                "not reached even without errors"
                if tolerated["median"] is None
                else with_interval(tolerated, estimated_rate),
            )
        )
    kinds = sorted({interval_name(t) for t in values["tolerated_ber"].values()})
    return Table(
        f"Networks. Tolerated BER of the mean chip: median ({', '.join(kinds)}).",
        (
            "Network",
            "Neurons",
            "Images",
            "Trained",
            "Weight bits",
            "Protected layers",
            "Right without errors",
            "Tolerated BER",
        ),
        tuple(rows),
        words=4,
    )


def chip_table(networks: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy of the simulated chips at each BER."""
    header, columns = ["BER"], []
    rates = sorted({b for network in networks.values() for b in network["ber"]})
    for name, network in networks.items():
        header += [f"{name}: mean", "sd (points)", "worst chip"]
        columns.append({b: i for i, b in enumerate(network["ber"])})
    rows = []
    for b in rates:
        row = [rate(b)]
        for network, column in zip(networks.values(), columns, strict=True):
            i = column.get(b)
            if i is None:
                row += ["not evaluated"] * 3
                continue
            row += [
                percent(network["accuracy_mean_of_chips"][i]),
                estimate(100 * network["accuracy_sd_of_chips"][i], 2),
                percent(network["accuracy_worst_chip"][i]),
            ]
        rows.append(tuple(row))
    chips = ", ".join(f"{n['chips']:,} ({name})" for name, n in networks.items())
    return Table(
        f"Counted accuracy on the test images. Chips: {chips}. sd: standard deviation over chips.",
        tuple(header),
        tuple(rows),
        words=0,
    )


def provenance_tables(provenance: Mapping[str, Any]) -> list[Table]:
    """Seeds, versions and hashes."""
    seeds = []
    for name, seed in provenance["seeds"].items():
        if isinstance(seed, Mapping):
            seeds += [(f"{name}, network {key}", f"{value}") for key, value in seed.items()]
        else:
            seeds.append((name, f"{seed}"))
    versions = tuple((name, f"{version}") for name, version in provenance["versions"].items())
    hashes = tuple(
        (name.replace("_sha256", ""), f"{value}" if value else "not recorded")
        for name, value in provenance["inputs"].items()
    )
    return [
        Table("Seeds.", ("What", "Seed"), tuple(seeds)),
        Table("Versions.", ("Package", "Version"), versions),
        Table("Inputs.", ("Input", "SHA-256"), hashes, words=2),
    ]
