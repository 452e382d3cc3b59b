"""Value and gradient of small PyMC models as machine code, against SciPy."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytest
from scipy import stats

from devicefit.compression.compression import compress
from devicefit.families.registry import FAMILIES
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling import compile_graph, compiled_model
from devicefit.sampling.compiled_model import CompiledModel, compile_model
from devicefit.sampling.graph_code import GraphCode, graph_key
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements

ROOT = Path(__file__).resolve().parents[3]


def two_normals(readings: FloatArray, *, terms: int) -> pm.Model:
    """A mean and effects of groups, and readings of one group after another."""
    with pm.Model(coords={"term": np.arange(terms)}) as model:
        mean = pm.Normal("mean", 1.0, 2.0)
        effect = pm.Normal("effect", 0.0, 0.5, dims="term")
        group = pm.Data("group", (np.arange(len(readings)) % terms).astype(np.int32))
        observed = pm.Data("readings", readings)
        law = pm.logp(pm.Normal.dist(mean + effect[group], 0.1), observed)
        pm.Potential("law", law.sum())
    return model


def reference(vector: FloatArray, readings: FloatArray) -> float:
    mean, effect = vector[0], vector[1:]
    found = stats.norm.logpdf(mean, 1.0, 2.0) + stats.norm.logpdf(effect, 0.0, 0.5).sum()
    group = np.arange(len(readings)) % len(effect)
    return float(found + stats.norm.logpdf(readings, mean + effect[group], 0.1).sum())


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    return compile_model(two_normals(np.array([0.9, 1.2, 1.4]), terms=2))


def test_variables_are_in_the_order_of_the_model(compiled: CompiledModel) -> None:
    assert (compiled.names, compiled.shapes) == (("mean", "effect"), ((), (2,)))
    assert (compiled.dims, compiled.density.n) == (((), ("term",)), 3)


@pytest.mark.parametrize(("terms", "count"), [(2, 3), (3, 7)])
def test_one_compiled_graph_serves_all_data_of_a_kind(
    compiled: CompiledModel, terms: int, count: int
) -> None:
    """Other readings, and other numbers of them and of effects: values of their own."""
    rng = np.random.default_rng(terms)
    readings = rng.normal(1.0, 0.3, count)
    found = compile_model(two_normals(readings, terms=terms))
    assert found.density.function is compiled.density.function
    vector = rng.normal(size=1 + terms)
    value, gradient = found.density(vector)
    # the constant has single precision: PyTensor keeps a constant like 2.0 that way, and its ln
    assert value == pytest.approx(reference(vector, readings), rel=1e-9)
    origin = np.zeros(1 + terms)
    apart = reference(vector, readings) - reference(origin, readings)
    assert value - found.density(origin)[0] == pytest.approx(apart, rel=1e-12)
    # quadratic: central differences are exact up to rounding
    slopes = [
        (reference(vector + way, readings) - reference(vector - way, readings)) / 2e-3
        for way in 1e-3 * np.eye(1 + terms)
    ]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-8, atol=1e-8 * np.abs(slopes).max())


def test_values_do_not_change_when_another_model_is_evaluated(compiled: CompiledModel) -> None:
    at = np.array([1.0, 0.2, -0.1])
    value, gradient = compiled.density(at)
    kept = gradient.copy()
    compile_model(two_normals(np.array([5.0, 6.0]), terms=2)).density(at + 1)
    np.testing.assert_array_equal(gradient, kept)
    assert compiled.density(at)[0] == value


def test_discrete_variables_are_refused_by_name() -> None:
    with pm.Model() as model:
        pm.Normal("mean")
        pm.Poisson("defects", 2.0)
    with pytest.raises(ValueError, match="variable defects is .*sum discrete ones out"):
        compile_model(model)


def test_tables_of_variables_are_refused_by_name() -> None:
    with pm.Model() as model:
        pm.Normal("effects", shape=(2, 3))
    with pytest.raises(ValueError, match="variable effects is .*split or flatten tables"):
        compile_model(model)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_graphs_of_families_can_be_stored(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """One operation without a name that lasts, and each process compiles for half a minute."""
    found = []

    def kept(graph: GraphCode | None, _: Any, key: str | None = None) -> None:
        if graph is not None:
            found.append((key, graph.key))

    monkeypatch.setattr(compiled_model, "_KNOWN", [])
    monkeypatch.setattr(compiled_model, "density_of", kept)
    monkeypatch.setattr(compiled_model, "compile_apart", lambda *_: None)
    monkeypatch.setattr(compile_graph, "density_of", kept)
    plan = ReferencePlan(currents=3, devices_per_current=5, cycles=4)
    compile_model(FAMILIES[family].model(compress(reference_measurements(plan=plan))))
    ((key, of_code),) = found
    assert key is not None
    assert of_code is not None


NAMING = """
import numpy as np
from devicefit.sampling import compiled_model
from devicefit.sampling.graph_code import graph_key
from tests.devicefit.sampling.test_compiled_model import two_normals

compiled_model._function = lambda inputs, ln_density: print(graph_key(inputs, [ln_density]))
try:
    compiled_model.compile_model(two_normals(np.array([0.9, 1.2]), terms=2))
except AttributeError:
    pass
"""


def test_a_graph_has_one_name_in_all_processes_and_another_one_with_another_law(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [
        subprocess.run(
            [sys.executable, "-c", NAMING],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.split()[-1]
        for seed in ("1", "2")
    ]
    here: list[str | None] = []
    monkeypatch.setattr(
        compiled_model,
        "_function",
        lambda inputs, value: here.extend(
            [graph_key(inputs, [value]), graph_key(inputs, [-value])]
        ),
    )
    # MachineDensity takes what is given to it for a function
    compile_model(two_normals(np.array([0.9, 1.2, 1.4]), terms=2))
    assert names == [here[0]] * 2
    assert here[1] is not None
    assert here[1] != here[0]


def test_what_cannot_be_compiled_apart_is_compiled_here(
    compiled: CompiledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_model, "_KNOWN", [])
    monkeypatch.setattr(compiled_model, "density_of", lambda *_: None)
    monkeypatch.setattr(compiled_model, "compile_apart", lambda *_: None)
    again = compile_model(two_normals(np.array([0.9, 1.2, 1.4]), terms=2))
    vector = np.array([0.8, 0.1, -0.2])
    assert again.density(vector)[0] == pytest.approx(compiled.density(vector)[0], rel=1e-13)
