"""Is the BER of every family exact, and fast enough to be taken for every draw?

Question
    Worst relative error of 1T1R, 2T2R and 1T1R + SECDED(72,64) against mpmath and adaptive
    quadrature, down to a BER of 1e-15; seconds for 4,000 draws x 200 programming values x 3 schemes
    with the threshold chosen in between; the ratio to plain SciPy on a part of that job, after a
    check that the results are equal.

Run ``python -m benchmarks.devicefit_ber``; prints JSON. All laws are simulated. Seconds are wall
clock, best of three after a first run that compiles.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import choose_threshold, ln_ber_1t1r, ln_ber_2t2r
from reliability.plans.codes import SECDED_72_64, ln_residual_ber

FAMILIES = {
    "lognormal": (("normal",), ("normal",)),
    "student-t": (("student-t",), ("student-t",)),
    "log-logistic": (("logistic",), ("logistic",)),
    "switching-failure, 6 x 4 normals": (("normal",) * 6, ("normal",) * 4),
    "switching-failure, Student-t core": (
        ("student-t", "normal", "normal", "normal"),
        ("normal", "normal", "normal"),
    ),
}
CHAINS, DRAWS, VALUES = 4, 1000, 200
OFFSET = 0.05
REPEATS = 3
CASES = 24
PRECISE_CASES = 4
PLAIN_ELEMENTS = 20
Array = NDArray[np.float64]
Part = tuple[str, float, float, float, float]  # kernel, weight, location, scale, dof


# --- laws -----------------------------------------------------------------------------------------


def job_laws(family: str, *, rng: np.random.Generator) -> tuple[Mixture, Mixture]:
    """Simulated posterior draws of a gate sweep: the LRS sharpens and moves away from the HRS."""
    laws = []
    x = np.linspace(0, 1, VALUES)
    shape = (CHAINS, DRAWS, VALUES)
    places = {
        "LRS": ([9.0, 9.5, 10.0, 11.5, 11.0, 7.4], [0.15, 0.3, 0.5, 0.5, 0.6, 0.2]),
        "HRS": ([11.5, 11.0, 7.4, 9.0], [0.4, 0.7, 0.2, 0.3]),
    }
    for (state, (locations, scales)), kernels in zip(places.items(), FAMILIES[family], strict=True):
        n, lrs = len(kernels), state == "LRS"
        noise = rng.standard_normal((3, n, CHAINS, DRAWS, 1))
        location = np.array(locations[:n]).reshape(n, 1, 1, 1) + 0.02 * noise[0]
        scale = np.array(scales[:n]).reshape(n, 1, 1, 1) * np.exp(0.05 * noise[1])
        location, scale = location - 1.5 * lrs * x, scale * np.exp(-0.7 * lrs * x)
        share = np.full(n, 0.01 / max(n - 1, 1))
        share[0] = 1 - share[1:].sum()
        ln_weight = np.broadcast_to(np.log(share).reshape(n, 1, 1, 1), (n, *shape)).copy()
        dof = 1.5 + np.exp(0.7 + 0.4 * noise[2])
        full = [np.broadcast_to(a, (n, *shape)).copy() for a in (location, scale)]
        laws.append(Mixture(ln_weight, full[0], full[1], kernels, dof))
    return laws[0], laws[1]


def random_parts(kernels: tuple[str, ...], *, rng: np.random.Generator, heavy: float) -> list[Part]:
    """Components near zero, scales from 0.01 to 0.5, dof from 1.5 to 100."""
    weight = rng.dirichlet(np.ones(len(kernels)))
    return [
        (
            kernel,
            float(w),
            float(rng.normal(0, 0.1)),
            float(np.exp(rng.uniform(np.log(0.01), np.log(0.5)))),
            float(np.exp(rng.uniform(np.log(1.5), np.log(heavy)))),
        )
        for kernel, w in zip(kernels, weight, strict=True)
    ]


def law_of(parts: list[Part], shift: float) -> Mixture:
    """The law of some components, all moved by `shift`."""
    kernels, weight, location, scale, dof = zip(*parts, strict=True)
    return Mixture(
        np.log(np.array(weight)),
        np.array(location) + shift,
        np.array(scale),
        tuple(kernels),
        np.array(dof),
    )


# --- references -----------------------------------------------------------------------------------


def precise_below(part: Part, y: mpmath.mpf) -> mpmath.mpf:
    """Distribution function of one component with the digits of the context."""
    kernel, _, location, scale, dof = part
    z, v = (y - mpmath.mpf(location)) / mpmath.mpf(scale), mpmath.mpf(dof)
    if kernel == "normal":
        return mpmath.erfc(-z / mpmath.sqrt(2)) / 2
    if kernel == "logistic":
        return 1 / (1 + mpmath.exp(-z))
    x = v / (v + z * z)
    tail = mpmath.betainc(v / 2, mpmath.mpf(1) / 2, 0, x, regularized=True) / 2
    return tail if z < 0 else 1 - tail


def precise_density(part: Part, y: mpmath.mpf) -> mpmath.mpf:
    """Density of one component with the digits of the context."""
    kernel, _, location, scale, dof = part
    z, v = (y - mpmath.mpf(location)) / mpmath.mpf(scale), mpmath.mpf(dof)
    if kernel == "normal":
        return mpmath.npdf(z) / scale
    if kernel == "logistic":
        return mpmath.sech(z / 2) ** 2 / 4 / scale
    front = mpmath.gamma((v + 1) / 2) / mpmath.gamma(v / 2) / mpmath.sqrt(v * mpmath.pi)
    return front * (1 + z * z / v) ** (-(v + 1) / 2) / scale


def precise_1t1r(lrs: list[Part], hrs: list[Part], gap: float, threshold: float) -> mpmath.mpf:
    """BER against a threshold, 30 digits."""
    t = mpmath.mpf(threshold)
    # every kernel is symmetric: survival is the distribution function of the mirrored component
    above = sum(p[1] * precise_below((p[0], p[1], -p[2], *p[3:]), -t) for p in lrs)
    below = sum(p[1] * precise_below(p, t - mpmath.mpf(gap)) for p in hrs)
    return (above + below) / 2 / sum(p[1] for p in lrs)


def precise_secded(raw: mpmath.mpf) -> mpmath.mpf:
    """Residual BER by the binomial sum, all 72 terms."""
    n, t, d = SECDED_72_64.n, SECDED_72_64.corrects, SECDED_72_64.detects
    return sum(
        mpmath.binomial(n, i)
        * raw**i
        * (1 - raw) ** (n - i)
        * mpmath.mpf(i if i <= d else min(i + t, n))
        / n
        for i in range(t + 1, n + 1)
    )


def precise_pair(lrs: Part, hrs: Part, gap: float) -> float:
    """P(y_LRS > y_HRS) of two components without offset, by mpmath's quadrature."""
    scale = min(lrs[3], hrs[3])
    marks = {lrs[2] + s * lrs[3] for s in (-30, -4, 0, 4, 30)}
    marks |= {gap + hrs[2] + s * hrs[3] for s in (-30, -4, 0, 4, 30)}
    marks |= {(lrs[2] + gap + hrs[2]) / 2}
    ordered = sorted(marks)
    inner = [
        mpmath.mpf(m) for k, m in enumerate(ordered) if k == 0 or m - ordered[k - 1] > 1e-3 * scale
    ]
    edges = [-mpmath.inf, *inner, mpmath.inf]
    return mpmath.quad(
        lambda y: precise_density(lrs, y) * precise_below(hrs, y - mpmath.mpf(gap)),
        edges,
        maxdegree=7,
    )


def frozen(part: Part) -> stats.rv_continuous:
    """SciPy's law of one component."""
    kernel, _, location, scale, dof = part
    if kernel == "student-t":
        return stats.t(dof, location, scale)
    return {"normal": stats.norm, "logistic": stats.logistic}[kernel](location, scale)


def panels(centres: list[tuple[float, float]], reach: float, order: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on panels that grow away from each (centre, scale)."""
    edges = {-reach, reach}
    for centre, scale in centres:
        steps = scale * np.concatenate([np.arange(0, 12, 0.5), 12 * 1.5 ** np.arange(90)])
        edges |= {float(e) for e in (*(centre + steps), *(centre - steps)) if abs(e) < reach}
    edge = np.array(sorted(edges))
    edge = edge[np.concatenate([[True], np.diff(edge) > 1e-9 * np.maximum(1e-3, abs(edge[1:]))])]
    x, w = np.polynomial.legendre.leggauss(order)
    half = np.diff(edge)[:, None] / 2
    return ((edge[:-1, None] + half) + half * x).ravel(), (half * w).ravel()


def quadrature_pair(lrs: Part, hrs: Part, gap: float, offset: float) -> float:
    """P(y_LRS + offset > y_HRS) by panels of two orders, which must agree."""
    left, right = frozen(lrs), frozen(hrs)
    d = gap + hrs[2] - lrs[2]
    width = lrs[3] + hrs[3]
    heavy = "student-t" in (lrs[0], hrs[0])
    reach = 1e10 * width if heavy else 60 * width + 2 * abs(d)
    answers = []
    for order in (8, 12):
        shifts = panels([(0.0, offset), (d, width)], max(14 * offset, abs(d) + 3 * offset), order)
        shift_weight = shifts[1] * stats.norm.pdf(shifts[0], 0, offset)
        keep = shift_weight > 1e-60 * shift_weight.max()
        total = 0.0
        for shift, v in zip(shifts[0][keep], shift_weight[keep], strict=True):
            y, w = panels([(lrs[2], lrs[3]), (gap - shift + hrs[2], hrs[3])], reach, order)
            total += v * float(np.sum(w * left.pdf(y) * right.cdf(y + shift - gap)))
        answers.append(total)
    if abs(answers[0] / answers[1] - 1) > 2e-8:
        raise RuntimeError(f"the reference did not converge: {answers} for {lrs}, {hrs}, {gap}")
    return answers[1]


# --- measurements ---------------------------------------------------------------------------------


def gap_for(error: Callable[[float], float], ber: float) -> float:
    """Distance of the states at which the BER is `ber`, at most 300."""
    low, high = 0.0, 300.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > math.log(ber) else (low, middle)
    return low


def accuracy(family: str) -> dict:
    """Worst relative errors over random laws with BER from 0.2 to 1e-15."""
    rng = np.random.default_rng([7, list(FAMILIES).index(family)])
    worst = {"1T1R": 0.0, "2T2R": 0.0, "1T1R + SECDED(72,64)": 0.0, "2T2R, mpmath": 0.0}
    smallest = dict.fromkeys(worst, 1.0)

    def note(scheme: str, found: float, expected: float) -> None:
        worst[scheme] = max(worst[scheme], abs(found / expected - 1))
        smallest[scheme] = min(smallest[scheme], expected)

    for case, ber in enumerate(np.geomspace(0.2, 1e-15, CASES)):
        lrs, hrs = (random_parts(k, rng=rng, heavy=100.0) for k in FAMILIES[family])
        left = law_of(lrs, 0.0)
        share = rng.uniform(0.2, 0.8)

        def one(g: float, left=left, hrs=hrs, share=share) -> float:
            return float(ln_ber_1t1r(left, law_of(hrs, g), share * g))

        gap = gap_for(one, ber)
        with mpmath.workdps(30):
            raw = precise_1t1r(lrs, hrs, gap, share * gap)
            secded = precise_secded(raw)
        found = ln_ber_1t1r(left, law_of(hrs, gap), share * gap)
        note("1T1R", float(np.exp(found)), float(raw))
        residual = float(np.exp(ln_residual_ber(SECDED_72_64, found)))
        note("1T1R + SECDED(72,64)", residual, float(secded))

        # pairs of components one by one: a mixture is their weighted sum
        a, b = (
            (*parts[case % len(parts)][:1], 1.0, *parts[case % len(parts)][2:])
            for parts in (lrs, hrs)
        )
        offset = (OFFSET, 0.3)[case % 2]

        def two(g: float, spread: float, a=a, b=b) -> float:
            return float(ln_ber_2t2r(law_of([a], 0.0), law_of([b], g), spread))

        gap = gap_for(lambda g, two=two, offset=offset: two(g, offset), ber)
        got = math.exp(two(gap, offset))
        note("2T2R", got, quadrature_pair(a, b, gap, offset))
        if case % (CASES // PRECISE_CASES) == 0:
            gap = min(gap, 50.0)
            got = math.exp(two(gap, 0.0))
            with mpmath.workdps(30):
                note("2T2R, mpmath", got, float(precise_pair(a, b, gap)))
    return {"worst_relative_error": worst, "smallest_ber": smallest}


def all_schemes(lrs: Mixture, hrs: Mixture) -> tuple[Array, Array, Array, Array]:
    """Threshold and ln BER of the three schemes."""
    threshold = choose_threshold(lrs, hrs)
    one = ln_ber_1t1r(lrs, hrs, threshold)
    return threshold, one, ln_ber_2t2r(lrs, hrs, OFFSET), ln_residual_ber(SECDED_72_64, one)


def plain_element(lrs: Mixture, hrs: Mixture, threshold: float) -> tuple[float, float, float]:
    """BER of the three schemes at one draw and value, written down with SciPy as one would."""
    sides = [
        [
            frozen((m.kernels[c], 1.0, float(m.location[c]), float(m.scale[c]), float(dof[c])))
            for c in range(m.components)
        ]
        for m, dof in ((lrs, lrs.dof), (hrs, hrs.dof))
        if dof is not None
    ]
    w, v = np.exp(lrs.ln_weight), np.exp(hrs.ln_weight)
    one = 0.5 * sum(u * p.sf(threshold) for u, p in zip(w, sides[0], strict=True))
    one += 0.5 * sum(u * p.cdf(threshold) for u, p in zip(v, sides[1], strict=True))
    x, h = np.polynomial.hermite_e.hermegauss(9)
    shifts, weights = OFFSET * x, h / h.sum()
    two = 0.0
    for i, left in enumerate(sides[0]):
        for j, right in enumerate(sides[1]):
            if lrs.kernels[i] == hrs.kernels[j] == "normal":
                sd = np.sqrt(lrs.scale[i] ** 2 + hrs.scale[j] ** 2 + OFFSET**2)
                value = stats.norm.cdf((lrs.location[i] - hrs.location[j]) / sd)
            else:
                cuts = [lrs.location[i], hrs.location[j]]
                cuts = sorted([*cuts, cuts[0] - 50, cuts[0] - 1, cuts[1] + 1, cuts[1] + 50])

                def density(y: float, left=left, right=right) -> float:
                    return left.pdf(y) * float(np.sum(weights * right.cdf(y + shifts)))

                value = sum(
                    integrate.quad(density, a, b, epsabs=0, epsrel=1e-8, limit=200)[0]
                    for a, b in zip([-np.inf, *cuts], [*cuts, np.inf], strict=True)
                )
            two += w[i] * v[j] * value
    n = SECDED_72_64.n
    i = np.arange(2, n + 1)
    wrong = np.where(i <= SECDED_72_64.detects, i, np.minimum(i + 1, n)) / n
    return float(one), float(two), float(np.sum(wrong * stats.binom.pmf(i, n, one)))


def speed(family: str) -> dict:
    """Seconds of the whole job, and of plain SciPy on elements of it."""
    lrs, hrs = job_laws(family, rng=np.random.default_rng(3))
    all_schemes(lrs, hrs)  # compiles
    seconds, cpu = [], []
    for _ in range(REPEATS):
        start, start_cpu = time.perf_counter(), time.process_time()
        threshold, one, two, ecc = all_schemes(lrs, hrs)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    rng = np.random.default_rng(4)
    spent, worst = 0.0, 0.0
    for _ in range(PLAIN_ELEMENTS):
        index = tuple(int(rng.integers(n)) for n in one.shape)
        a, b = lrs.part(index), hrs.part(index)
        start = time.perf_counter()
        plain = plain_element(a, b, float(threshold[index[-1]]))
        spent += time.perf_counter() - start
        ours = [float(np.exp(values[index])) for values in (one, two, ecc)]
        worst = max(worst, *(abs(p / q - 1) for p, q in zip(plain, ours, strict=True)))
    if worst > 2e-6:
        raise RuntimeError(f"{family}: plain SciPy differs by {worst:.2g}; no ratio is reported")
    per_element = spent / PLAIN_ELEMENTS
    return {
        "seconds": min(seconds),
        "seconds_all": seconds,
        "processor_seconds": min(cpu),
        "largest_difference_to_plain_scipy": worst,
        "ratio_to_plain_scipy": per_element * one.size / min(seconds),
    }


def measure() -> dict:
    """Accuracy and speed of every family."""
    return {
        "draws": CHAINS * DRAWS,
        "programming_values": VALUES,
        "schemes": 3,
        "cores": os.cpu_count(),
        "families": {name: accuracy(name) | speed(name) for name in FAMILIES},
    }


def main() -> int:
    """Print the figures as JSON."""
    print(json.dumps(measure(), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
