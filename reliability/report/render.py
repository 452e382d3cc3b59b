"""From frozen results to one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from devicefit.inputs.programming import Programming
from reliability.report import alternatives, study_tables, tables
from reliability.report.figures import answer as answer_figures
from reliability.report.figures import checks as check_figures
from reliability.report.figures import choices as choice_figures
from reliability.report.figures import device as device_figures
from reliability.report.figures import words
from reliability.report.figures.drawing import programming_words
from reliability.report.figures.saving import saving_figure
from reliability.results.results import Results


def render_report(results: Results) -> str:
    """HTML text of the report.

    Parameters
    ----------
    results : Results
        What to show; nothing is sampled, trained or fitted here.

    Returns
    -------
    str
        One self-contained page; the same results give the same text.
    """
    values = results.values
    programming = Programming(values["programming"]["name"], values["programming"]["unit"])
    environment = Environment(
        loader=PackageLoader("reliability", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "number": words.number,
            "rate": words.rate,
            "percent": words.percent,
            "points": words.points,
            "probability": words.probability,
            "quantity": words.quantity,
            "interval_name": words.interval_name,
            "saving": words.saving,
            "saving_middle": words.saving_middle,
            "programming": programming.format,
        }
    )
    style = files("reliability.report").joinpath("style.css").read_text(encoding="utf-8")
    required = required_accuracy(values)
    return environment.get_template("page.html.j2").render(
        values=values,
        answer=values["verdict"]["not_to_be_relied_on"] or values["verdict"],
        style=Markup(style),
        required=required,
        leading=leading_family(values["device"]),
        standard=next(iter(values["networks"])),
        below_evaluated=alternatives.below_evaluated(values),
        failed=[gate for gate in values["gates"] if not gate["passed"]],
        measured=programming_words(
            programming,
            values["programming"]["measured_low"],
            values["programming"]["measured_high"],
        ),
        figures={key: Markup(svg) for key, svg in draw(values, programming, required).items()},
        tables=tabulate(values, programming),
    )


def required_accuracy(values: Mapping[str, Any]) -> float:
    """Accuracy that the requirement asks for: that of the first network less the largest loss."""
    standard = next(iter(values["networks"].values()))
    return float(standard["error_free_accuracy"] - values["requirement"]["max_loss"])


def leading_family(device: Mapping[str, Any]) -> str:
    """Family that the answer is based on, or the one of the largest weight in a stack."""
    if device["family"] in device["families"]:
        return str(device["family"])
    scored = device.get("checks", {}).get("families", {})
    return str(max(device["families"], key=lambda f: scored.get(f, {}).get("weight") or 0.0))


def draw(values: Mapping[str, Any], programming: Programming, required: float) -> dict[str, str]:
    """All figures as inline SVG."""
    design = values["energy_saving"]["design"]
    max_loss, risk = (values["requirement"][key] for key in ("max_loss", "risk"))
    device = values["device"]
    family = device["families"][leading_family(device)]
    truth = values.get("simulated_truth")
    shown = alternatives.shown_networks(values)
    both = tuple(dict.fromkeys((shown[0], design["network"])))
    return {
        **draw_checks(device.get("checks", {}), programming),
        "ber": device_figures.ber_figure(values["ber"], programming, truth and truth["ber"]),
        "quantiles": device_figures.quantile_figure(device["quantiles"], programming),
        "priors": device_figures.prior_figure(family["parameters"]),
        "accuracy_ber": answer_figures.accuracy_over_ber_figure(
            {name: values["networks"][name] for name in shown},
            values["tolerated_ber"],
            required=required,
            max_loss=max_loss,
        ),
        **draw_surface({n: values["networks"][n] for n in both}, required, max_loss),
        "accuracy_programming": answer_figures.accuracy_over_programming_figure(
            {n: values["accuracy"][n] for n in both},
            values["safe_programming"],
            programming,
            scheme=design["scheme"],
            required=required,
            max_loss=max_loss,
            risk=risk,
        ),
        "shares": answer_figures.share_figure(
            values["accuracy"][design["network"]][design["scheme"]],
            programming,
            lowest=values["verdict"]["recommended_programming"],
        ),
        "alternatives": alternatives.alternative_figure(values),
        "savings": saving_figure(tables.saving_rows(values)),
        **draw_choices(values, programming, required),
    }


def draw_surface(
    networks: Mapping[str, Mapping[str, Any]], required: float, max_loss: float
) -> dict[str, str]:
    """Figure of unequal error rates, where they were counted."""
    counted = {n: found for n, found in networks.items() if found.get("unequal")}
    if not counted:
        return {}
    figure = answer_figures.unequal_rates_figure(counted, required=required, max_loss=max_loss)
    return {"unequal_rates": figure}


def draw_choices(
    values: Mapping[str, Any], programming: Programming, required: float
) -> dict[str, str]:
    """Figures of energy, regret and Pareto front, those for which there are values."""
    figures = {}
    if values["energy"]["e_cell_j"] is not None:
        figures["energy"] = choice_figures.energy_figure(values["energy"], programming)
    if (values.get("choices") or {}).get("energy_regret"):
        figures["regret"] = choice_figures.regret_figure(
            values["choices"],
            programming,
            risk=values["requirement"]["risk"],
            lowest=values["verdict"]["recommended_programming"],
        )
    if values.get("pareto"):
        figures["pareto"] = choice_figures.pareto_figure(values["pareto"], required=required)
    return figures


def draw_checks(checks: Mapping[str, Any], programming: Programming) -> dict[str, str]:
    """Figures of the device's checks, those for which there are values."""
    figures = {}
    if checks.get("forest", {}).get("parameters"):
        figures["forest"] = check_figures.forest_figure(checks["forest"])
    if checks.get("failures", {}).get("cells"):
        figures["failures"] = check_figures.failures_figure(checks["failures"], programming)
    if any("elpd_difference" in f for f in checks.get("families", {}).values()):
        figures["stacking"] = check_figures.stacking_figure(checks["families"])
    return figures


def tabulate(values: Mapping[str, Any], programming: Programming) -> dict[str, Any]:
    """All tables as rows of words."""
    device = values["device"]
    family = device["families"][leading_family(device)]
    design = values["energy_saving"]["design"]
    recommended = values["verdict"]["recommended_programming"]
    record = values["accuracy"][design["network"]][design["scheme"]]
    return {
        "savings": tables.saving_table(values, programming),
        "references": tables.reference_table(values, programming),
        "saving_shares": tables.saving_share_table(values),
        "gates": study_tables.gate_table(values),
        "diagnostics": study_tables.diagnostics_table(device),
        "priors": study_tables.prior_table(family["parameters"]),
        "counts": study_tables.count_table(values["ber"]["counts"], programming),
        "networks": study_tables.network_table(values),
        "chips": study_tables.chip_table(
            {name: values["networks"][name] for name in alternatives.shown_networks(values)}
        ),
        "shares": None if recommended is None else tables.share_table(record, recommended),
        "alternatives": alternatives.alternative_table(
            values, programming, tables.references(values)
        ),
        "confirmation": tables.confirmation_table(values["confirmation"], programming),
        "energy": tables.energy_table(values["energy"]),
        "next": tables.next_table(values),
        "truth": tables.truth_table(values) if values.get("simulated_truth") else None,
        "provenance": study_tables.provenance_tables(values["provenance"]),
    }
