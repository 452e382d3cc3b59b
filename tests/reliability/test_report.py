"""The HTML report, from a trimmed result of the pipeline on the simulated device.

``data/results_example.json`` holds fewer grid points, rates, quantiles and parameters than the
original, rounded to five digits; nothing in it is measured.
"""

import copy
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import _pylab_helpers

from bnn.study.rate_pairs import TILTS
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.report import render_report
from reliability.report.figures import words as w
from reliability.report.figures.answer import unequal_rates_figure
from reliability.results.records import network_record
from reliability.results.results import Results, read_results
from reliability.results.withheld import Made, withheld
from tests.reliability.made_up import CORRECT, IMAGES, fragile_network

EXAMPLE = Path(__file__).parent / "data" / "results_example.json"
BANNER = "SIMULATED DEVICE - nothing here was measured"
FIGURES = (
    "recommended_programming", "recommended_programming_words", "network", "scheme",
    "cells_per_bit", "p_requirement_met", "p_against", "test_set", "p_of_curve", "confirmed",
    "recommended_second", "fresh", "nearest", "lines", "sentence", "safe_set",
)  # fmt: skip
"""Keys of the verdict that a failed gate withholds."""
VOID = {"meta", "br", "hr", "img", "input", "link", "source", "wbr", "col"}


class Page(HTMLParser):
    """Tags, ids, references and visible text of a page; unbalanced tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, attrs)

    def note(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self.references.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture
def values():
    found = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    del found["format"]
    return found


@pytest.fixture(scope="module")
def example_html():
    return render_report(read_results(EXAMPLE))


def test_warnings_about_the_data_are_on_page_one(values):
    values["data"]["warnings"] = ["2 readings are overflow", "left out by --exclude: 3 cells"]
    values["data"]["known_by_bounds"] = {"LRS": 1, "HRS": 1}
    html = render_report(Results(values))
    verdict = html[html.index('<section id="verdict">') : html.index('<section id="data">')]
    for text in values["data"]["warnings"]:
        assert f"<li>{text}</li>" in verdict
        assert html.count(text) == 1
    assert "and 2 known by bounds" in " ".join(html.split())


def page_of(values) -> Page:
    return Page(render_report(Results(values)))


def without_safe_set(values):
    """The same study when no design meets the requirement anywhere."""
    changed = copy.deepcopy(values)
    changed["verdict"].update(
        recommended_programming=None, network=None, scheme=None, p_requirement_met=None,
        recommended_programming_words=None, safe_set=None, p_against=None, test_set=None,
        lines=["Nothing is safe, says the first line."],
    )  # fmt: skip
    for schemes in changed["safe_programming"].values():
        for found in schemes.values():
            found.update(
                lowest=None, intervals=[], at_weakest_measured=False, sentence="Nothing is safe."
            )
    for key in ("standard_bnn", "memory", "memory_with_ecc"):
        record = changed["energy_saving"][key]
        for name in ("share_at_least", "share_at_most"):
            del record[name]
        for name in ("low", "median", "high", "bound", "at_recommended"):
            record[name] = None
    for design in changed["alternatives"]:
        design.update(
            lowest_safe_programming=None,
            at_weakest_measured=False,
            network_ber=None,
            share_below_evaluated_ber=None,
            e_bit_j=None,
            e_network_j=None,
            saving=None,
            sentence="Nothing is safe.",
        )
    for tolerated in changed["tolerated_ber"].values():
        tolerated.update(low=None, median=None, high=None)
        del tolerated["max_loss_from_own_error_free"]
    changed["simulated_truth"]["energy_saving"] = {}
    return changed


def with_gate_voltage(values):
    """The same study with 0.8 to 1.5 V in the place of 20 to 600 uA."""

    def volt(x):
        return None if x is None else 0.8 + 0.7 * math.log(x / 2e-5) / math.log(30)

    programming_keys = {
        "grid", "measured_low", "measured_high", "programming_low", "programming_high",
        "recommended_programming", "lowest_safe_programming", "lowest", "intervals",
        "likeliest_programming",
    }  # fmt: skip

    words = ("sentence", "safe_set", "basis", "meaning", "lines")

    def change(value, key=""):
        if isinstance(value, dict):
            inside = key == "reference_programming"
            return {
                k: volt(v)
                if (inside and k in ("low", "median", "high"))
                or (k == "programming" and isinstance(v, float))
                else change(v, k)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [change(v, key) for v in value]
        if isinstance(value, float) and key in programming_keys:
            return volt(value)
        if isinstance(value, str) and key in words:
            return "Words of the engine."
        return value

    changed = change(values)
    changed["programming"].update(name="gate voltage", unit="V", logarithmic=False)
    return changed


def test_example_is_balanced_with_unique_ids_and_its_anchors_exist(example_html):
    page = Page(example_html)
    assert len(page.ids) == len(set(page.ids))
    anchors = {r[1:] for r in page.references if r.startswith("#")}
    assert anchors <= set(page.ids)
    assert {"verdict", "data", "device", "ber", "network", "propagation", "decision"} <= anchors
    assert {"truth", "reproduce"} <= anchors
    assert example_html.count("<svg") == 9


def test_page_asks_for_nothing_outside(example_html):
    page = Page(example_html)
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in page.references)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "img"})
    for forbidden in ("http://", "https://", "@import", "xmlns"):
        assert forbidden not in example_html
    assert set(re.findall(r"url\((.)", example_html)) == {"#"}


def test_same_results_give_the_same_bytes(values, example_html):
    assert render_report(Results(values)) == example_html
    assert render_report(read_results(EXAMPLE)) == example_html


def test_drawing_leaves_no_global_state(values):
    before = dict(matplotlib.rcParams)
    render_report(Results(values))
    assert dict(matplotlib.rcParams) == before
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []


def variants():
    yield "example", lambda v: v
    yield "no safe set", without_safe_set
    yield "gate voltage", with_gate_voltage
    yield "withheld", lambda v: withheld_by(v, 3, "test")
    yield "withheld and not safe", lambda v: withheld_by(without_safe_set(v), 3, "test")


@pytest.mark.parametrize(("name", "change"), list(variants()))
def test_no_unknown_value_is_printed(values, name, change):
    html = render_report(Results(change(values)))
    html = re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", html)
    assert re.findall(r"\b(?:None|nan|NaN|inf|Infinity|Undefined|False)\b", html) == []
    Page(html)


def test_malicious_names_are_text(values):
    bad = "<script>alert(1)</script>$x_{1}$ \"><img src='x' onerror='y'>"
    values["data"]["source"] = bad
    values["data"]["warnings"] = [bad]
    values["programming"]["name"] = bad
    for key in ("networks", "accuracy", "tolerated_ber", "safe_programming"):
        values[key] = {(bad if k == "standard" else k): v for k, v in values[key].items()}
    values["alternatives"] = [
        d | {"network": bad} if d["network"] == "standard" else d for d in values["alternatives"]
    ]
    page = page_of(values)
    assert page.tags.isdisjoint({"script", "img"})
    assert page.handlers == []
    assert bad in page.text


@pytest.mark.parametrize("simulated", [True, False])
def test_banner_is_there_exactly_if_simulated(values, simulated):
    values["verdict"]["simulated"] = values["data"]["simulated"] = simulated
    if not simulated:
        del values["simulated_truth"]
    page = page_of(values)
    assert (BANNER in page.text) is simulated
    assert page.text.startswith(BANNER, page.text.find(BANNER)) is simulated
    # Figures that show the device carry the label again; the network's own does not.
    assert page.text.count("simulated device") >= 8 * simulated
    assert ("truth" in page.ids) is simulated
    if not simulated:
        values["data"]["source"] = "readings.csv"
        assert "simulated device" not in page_of(values).text


def withheld_by(values, index: int, command: str):
    """The same study when one gate failed."""
    changed = copy.deepcopy(values)
    gate = changed["gates"][index]
    gate.update(passed=False, finding="9 of 16 cells inside", remedy="look at the cells")
    changed["verdict"].update(failed_gates=[gate["name"]], gates_passed=False)
    figures = {key: value for key, value in changed["verdict"].items() if key in FIGURES}
    made = Made(command, {"draws": 1500, "warmup": 500, "target_accept": 0.98}, 50)
    changed["verdict"] |= withheld(
        figures, changed["gates"], of_device=changed["gates"][:5], made=made
    )
    return changed


def test_a_failed_gate_withholds_the_verdict_and_leaves_the_figures_below(values):
    page = page_of(values)
    assert "All 6 gates passed" in page.text
    assert "not to be relied on" not in page.text
    figures = ("Recommended programming", "P(requirement met) 0.9", "Energy saved", "1.10", "17.6")
    one = page.text[page.text.index("All 6 gates") : page.text.index("Requirement.")]
    assert all(figure in one for figure in figures[:3])
    page = page_of(withheld_by(values, 3, "rram-reliability run --out o"))
    begin, end = page.text.index("Verdict withheld: 1 of 6"), page.text.index("Terms")
    one, below = page.text[begin:end], page.text[end:]
    assert "gates passed" not in page.text
    assert one.index("What to do first") < one.index("9 of 16 cells inside")
    assert "look at the cells" in one
    for figure in figures:
        assert figure not in one
        assert figure in below or figure == figures[0]
    assert "Recommended programming" not in page.text
    assert re.search(r"\b0\.9[56]|\d uA|times", one.split("Requirement.")[0]) is None
    assert below.index("Not to be relied on") < below.index("Programming, not recommended")
    assert "(recommended)" not in page.text
    # the heads of all sections that rest on the answer say so
    assert below.count("not to be relied on") == 3
    assert below.count("FAILED. What to do: look at the cells") == 1


def test_what_to_do_first_is_a_command_where_it_is_one(values):
    changed = withheld_by(values, 1, "rram-reliability run --out o")
    assert changed["gates"][1]["name"] == "effective draws"
    html = render_report(Results(changed))
    assert "<pre>rram-reliability run --out o --draws 3000 --force</pre>" in html


def test_verdict_names_programming_network_scheme_probability_and_savings(example_html):
    text = Page(example_html).text
    verdict = text[text.index("Recommended programming") : text.index("Requirement.")]
    for words in ("25.6 uA", "trained for errors", "1T1R", "0.960", "1.10 times"):
        assert words in verdict
    assert "at least 17.6 times with probability 0.95" in verdict
    # Standard network without errors: 583 of 600 right; less one point.
    assert "(97.2 %). So it has to reach 96.2 %" in text
    # Intervals name kind and probability, and so do bounds.
    assert "at least 17.6 (probability 0.95)" in text
    assert "median (90 % ETI)" in text


def test_no_safe_set_is_said_and_nothing_is_recommended(values):
    page = page_of(without_safe_set(values))
    assert "No recommendation." in page.text
    assert "Recommended programming" not in page.text
    assert page.text.count("Nothing is safe.") == 4
    assert "not reached even without errors" in page.text
    # What is safe nowhere saves nothing.
    assert "1.10 (1.08 to 1.13)" not in page.text


def test_gate_voltage_needs_no_ampere(values):
    page = page_of(with_gate_voltage(values))
    assert "gate voltage (V)" in page.text
    assert "Bit error rate over the gate voltage." in page.text
    assert "800 mV to 1.5 V" in page.text
    for ampere in (" uA", "(uA)", " mA", "compliance current"):
        assert ampere not in page.text


def test_zero_errors_are_upper_limits_in_figure_and_table(values, example_html):
    # Rule of zero counts at 90 %: 1 - 0.1 ** (1 / n), with n = 500 / 2.77 + 500 / 1.52 = 508
    # effective readings (design effects of LRS and HRS in the fixture): 0.0045.
    share = values["ber"]["counts"]["share"]
    zero = [g for g, value in enumerate(share["value"]) if value == 0]
    assert len(zero) == 5
    text = Page(example_html).text
    assert text.count("0 / 500 0 / 500 < 4.5e-3") == len(zero)
    assert [int(g) for g in re.findall(r'id="mark-zero-errors-(\d+)"', example_html)] == zero
    assert "no errors counted: upper limit" in text


def test_bounds_are_arrows(example_html):
    # Both savings against plain memory are bounds.
    marks = re.findall(r'id="mark-at-least-(\d+)"', example_html)
    assert marks == ["1", "2"]


def test_extrapolation_is_marked_where_there_is_any(values, example_html):
    assert "beyond the measured range" not in example_html
    values["ber"]["extrapolated"][-3:] = [True] * 3
    assert "beyond the measured range" in page_of(values).text


def test_a_true_value_outside_its_interval_stands_out(values, example_html):
    assert "OUTSIDE" not in example_html
    values["simulated_truth"]["energy_saving"]["memory"]["inside"] = False
    html = render_report(Results(values))
    assert html.count('class="bad">OUTSIDE') == 1


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        (w.number, None, "none"),
        (w.number, 84480, "84,480"),
        (w.number, 1234.5, "1,230"),
        (w.number, 4.21e-5, "4.21e-5"),
        (w.rate, 1e-5, "1e-5"),
        (w.rate, 0.00127, "1.3e-3"),
        (w.rate, 0.04, "0.04"),
        (w.rate, 0.0, "0"),
        (w.rate, None, "none"),
        (w.estimated_rate, 0.03, "0.030"),
        (w.estimated_rate, 0.003, "3.0e-3"),
        (w.estimated_rate, 0.25, "0.25"),
        (w.estimate, 1.1, "1.10"),
        (w.estimate, 14.0, "14.0"),
        (w.estimate, 931.0, "931"),
        (w.estimate, 2.5e-7, "2.5e-7"),
        (w.estimate, None, "none"),
        (w.percent, 0.97166, "97.2 %"),
        (w.percent, None, "none"),
        (w.share, 4e-4, "below 0.1 %"),
        (w.share, 0.0, "0.0 %"),
        (w.points, 0.01, "1 point"),
        (w.points, 0.025, "2.5 points"),
        (w.points, None, "none"),
        (w.probability, 0.957, "0.957"),
        (w.probability, 0.99999, "above 0.999"),
        (w.probability, 1e-5, "below 0.001"),
        (w.probability, 1.0, "1.000"),
        (w.probability, None, "none"),
        (w.plain, -0.001, "0.00"),
    ],
)
def test_numbers_in_words(form, value, expected):
    assert form(value) == expected


def test_quantities_and_energies_have_prefixes():
    assert w.quantity(8.39e-12, "J") == "8.39 pJ"
    assert w.quantity(1.2, "V") == "1.2 V"
    assert w.quantity(0.0, "V") == "0 V"
    assert w.quantity(None, "V") == "none"
    assert w.energy({"low": 7.55e-12, "median": 8.4e-12, "high": 9.36e-12}) == (
        "8.40 (7.55 to 9.36) pJ"
    )
    assert w.energy(None) == "none"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"median": 20.0, "low": 15.0, "high": 30.0, "bound": None}, "20.0 (15.0 to 30.0)"),
        ({"median": 1.0, "low": 1.0, "high": 1.0, "bound": None}, "1.00"),
        (
            {"median": None, "bound": {"side": "at least", "value": 15.0, "probability": 0.95}},
            "at least 15.0 (probability 0.95)",
        ),
        (
            {"median": None, "bound": {"side": "at most", "value": 2.0, "probability": 0.95}},
            "at most 2.00 (probability 0.95)",
        ),
        ({"median": None, "bound": None}, "none"),
        (None, "none"),
    ],
)
def test_a_saving_is_an_interval_or_a_bound_with_its_probability(record, expected):
    assert w.saving(record) == expected


def test_unequal_rates_are_drawn_with_the_surface_beside_the_counts() -> None:
    """A made-up network that only the mean rate matters to: its law is known."""
    study = fragile_network(8.0, ber=0.0, seed=3)
    surface = fit_accuracy_surfaces({"network": study}, seed=1)["network"]
    record = network_record(study, surface)
    found = record["unequal"]["surface"]
    ber, median = np.array(found["ber"]), np.array(found["accuracy_median"])
    assert found["tilt"] == sorted({*TILTS, 0.0})
    hit = -np.expm1(-8.0 * ber)
    law = (CORRECT * (1 - 0.9 * hit) + (IMAGES - CORRECT) * 0.1 * hit) / IMAGES
    # binomial spread of the mean of 12 chips, less where neighbours tell too: z = 4
    error = np.sqrt(CORRECT * 0.9 * hit * (1 - 0.9 * hit) / 12) / IMAGES
    assert np.all(np.abs(median - law) < 4 * error + 0.001)
    figure = unequal_rates_figure({"made up": record}, required=0.9, max_loss=0.02)
    for words in ("only stored ones go wrong", "80 % of the wrong bits are stored zeros", "alike"):
        assert words in figure
