"""From a device study and counts of networks to the frozen results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devicefit.families.frame import Frame
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import band
from devicefit.sampling.diagnostics import versions
from devicefit.simulation.reference_device import ReferenceDevice
from reliability.confirmation.words import confirmation_record, readings_gates
from reliability.decision.compare import compare
from reliability.decision.comparison import STANDARD, Comparison
from reliability.decision.options import DecisionOptions
from reliability.decision.saving import saving_record
from reliability.decision.second_variable import compared_values, leading
from reliability.device.study import DeviceStudy, Say
from reliability.energy.energy import EnergyOptions
from reliability.energy.tables import EnergyTable
from reliability.networks.study import NetworkStudy
from reliability.results import records
from reliability.results.alternatives import alternative_records
from reliability.results.grounds import Grounds
from reliability.results.results import Results
from reliability.results.truth import truth_record
from reliability.results.verdict import verdict_record
from reliability.results.withheld import Made
from reliability.statements.choices import choices_record, pareto_record
from reliability.statements.counted_rates import counted_rates_gate, counted_rates_record
from reliability.uncertainty.saving_shares import saving_uncertainty

if TYPE_CHECKING:
    from reliability.confirmation.confirming import Confirming
    from reliability.life.required import LifeFactor


def answer(
    device: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    options: DecisionOptions,
    *,
    command: str,
    with_next: bool = False,
    truth: ReferenceDevice | None = None,
    confirming: Confirming | None = None,
    say: Say = lambda text: None,
) -> Results:
    """Propagate, decide, and collect everything a report shows.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    networks : mapping of str to NetworkStudy
        The standard network first; the requirement refers to its accuracy without errors.
    options : DecisionOptions
        What must hold, what is known beside the readings, and what is compared.
    command : str
        Command line that reproduces the results.
    with_next : bool
        Whether to rank further measurements, which takes seconds.
    truth : ReferenceDevice, optional
        For the simulated device: the truth to compare with.
    confirming : Confirming, optional
        Networks and images for chips that confirm the design, or why there are none; the results
        say that it is not confirmed when left out.
    say : callable, optional
        Told what is being done.

    Returns
    -------
    Results

    Raises
    ------
    ValueError
        As of :func:`reliability.decision.compare.compare`.
    """
    asked = _compared(device, networks, options, confirming, say)
    c, device = asked.leading, asked.device
    saving = {r.key: saving_record(c, r) for r in c.references}
    uncertainty = saving_uncertainty(c, seed=options.seed)
    ranking = _ranking(asked, networks, options, uncertainty) if with_next else None
    choices = choices_record(c, c.focus)
    life, cycles = _life(asked, options)
    gates = [
        *device.record["gates"],
        records.surface_gate(c.curves).record(),
        counted_rates_gate(c).record(),
        *readings_gates(c),
        *([] if life is None else life["gates"]),
    ]
    grounds = Grounds(
        device=device.record,
        regret=(choices["energy_regret"] or {}).get("sentence"),
        uncertainty=_what_is_open(uncertainty, ranking),
        life=life,
        not_confirmed="" if confirming is None else confirming.missing,
        arrays=device.main.frame.arrays,
        made=Made(command, device.main.record["sampler"], c.standard.chips),
    )
    values: dict[str, Any] = {
        "verdict": verdict_record(c, saving, gates, grounds),
        **_compared_records(asked, networks, options, saving),
        "saving_shares": uncertainty,
        "choices": choices,
        "pareto": pareto_record(c, cycles),
        "life": life,
        "gates": gates,
        "provenance": _provenance(device, networks, options.seed, command),
    }
    values |= {} if ranking is None else {"measure_next": ranking}
    # the truth that is known is that of fresh cells
    if truth is not None and life is None:
        values["simulated_truth"] = truth_record(truth, c, values)
    return Results(values)


@dataclass(frozen=True)
class _Compared:
    """Comparisons at each value of the second variable, and the one with the best design.

    Parameters
    ----------
    every : sequence of Comparison
        At the end of life where one is asked for; confirmed by chips where there are some.
    leading, fresh : Comparison
        The one with the best design, and the same for fresh cells.
    device : DeviceStudy
        At that value of the second variable.
    seconds : tuple of float
        Values of the second variable that were compared.
    factor : LifeFactor or None
        What the life does to error rates, of the leading one.
    """

    every: Sequence[Comparison]
    leading: Comparison
    fresh: Comparison
    device: DeviceStudy
    seconds: tuple[float, ...]
    factor: LifeFactor | None


def _compared(
    device: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    options: DecisionOptions,
    confirming: Confirming | None,
    say: Say,
) -> _Compared:
    """Compare at each value of the second variable, age, confirm."""
    frame = device.main.frame
    seconds = options.seconds or compared_values(None, frame.second, device.second_values)
    studies = [device.at_second(value) for value in seconds] or [device]
    fresh: list[Comparison] = []
    for study in studies:
        curves = fresh[0].curves if fresh else None
        fresh.append(compare(study, networks, options, curves=curves))
    every, factors, ageings = fresh, None, None
    if options.lives:
        # imported here: few decisions need the models of life
        from reliability.confirmation.aged import Ageing
        from reliability.statements.life import at_end_of_life, life_asked

        required, seed = life_asked(options.requirement), options.seed
        ended = [at_end_of_life(one, options.lives, required, seed=seed) for one in fresh]
        every, factors = [aged for aged, _ in ended], [factor for _, factor in ended]
        ageings = [Ageing(factor, aged.grid, seed) for aged, factor in ended]
    if confirming is not None:
        # imported here: without networks a decision needs none of their packages
        from reliability.confirmation.confirmed import confirm_each

        every = confirm_each(every, confirming, say, ageings=ageings)
    best = leading(every)
    factor = None if factors is None else factors[best]
    return _Compared(every, every[best], fresh[best], studies[best], tuple(seconds), factor)


def _life(
    asked: _Compared, options: DecisionOptions
) -> tuple[dict[str, Any] | None, dict[tuple[str, str], FloatArray] | None]:
    """Record of the required life, and cycles until designs miss the requirement; None: no life."""
    if asked.factor is None:
        return None, None
    # imported here: few decisions need the models of life
    from reliability.statements.life import design_cycles, life_asked, life_record

    required = life_asked(options.requirement)
    record = life_record(asked.fresh, asked.leading, asked.factor, options.lives, required)
    return record, design_cycles(asked.fresh, options.lives, seed=options.seed)


def _ranking(
    asked: _Compared,
    networks: Mapping[str, NetworkStudy],
    options: DecisionOptions,
    uncertainty: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Ranking of a few further measurements, or why there is none."""
    # imported here: no other answer needs it
    from reliability.measure_next.short import next_record

    against = {} if uncertainty is None else uncertainty["against"]
    return next_record(
        asked.device,
        asked.leading,
        networks,
        shares=against.get(STANDARD, {}).get("share"),
        seed=options.seed,
        life=bool(options.lives),
    )


def _compared_records(
    asked: _Compared,
    networks: Mapping[str, NetworkStudy],
    options: DecisionOptions,
    saving: Mapping[str, Any],
) -> dict[str, Any]:
    """What was compared, on what, and what was found for each network and design."""
    c, device = asked.leading, asked.device
    bits = int(networks[c.focus.network].counts.attrs["weights"])
    return {
        "programming": _programming_record(device, asked.seconds),
        "requirement": options.requirement.record(),
        "data": device.record["data"],
        "device": records.device_record(device, options.sensing),
        "ber": records.ber_record(asked.fresh, device),
        "networks": {
            name: records.network_record(networks[name], curve) for name, curve in c.curves.items()
        },
        "accuracy": records.of_designs(
            c, lambda d: records.accuracy_record(d, c.grid, c.requirement.probability)
        ),
        "tolerated_ber": {
            name: records.tolerated_record(ln_tolerated, c.limits[name])
            for name, ln_tolerated in c.tolerated_ln_ber.items()
        },
        "safe_programming": records.of_designs(c, records.safe_record),
        "energy_saving": {
            "design": {"network": c.focus.network, "scheme": c.focus.scheme},
            **saving,
        },
        "energy": _energy_record(c, options, device.main.frame, bits),
        "alternatives": alternative_records(asked.every, networks),
        "confirmation": confirmation_record(c),
        "unequal_errors": counted_rates_record(c),
    }


def _programming_record(device: DeviceStudy, seconds: Sequence[float]) -> dict[str, Any]:
    """The programming variable, its measured range, and the second one if there is one."""
    frame = device.main.frame
    second = frame.second and {
        "name": frame.second.name,
        "unit": frame.second.unit,
        "value": frame.second_reference,
        "compared": list(seconds),
        "measured": list(device.second_values),
    }
    return {
        "name": frame.programming.name,
        "unit": frame.programming.unit,
        "measured_low": frame.low,
        "measured_high": frame.high,
        "logarithmic": frame.programming.is_logarithmic,
        "second": second,
    }


def _energy_record(
    comparison: Comparison, options: DecisionOptions, frame: Frame, bits: int
) -> dict[str, Any]:
    """Energy of a cell over the programming variable, and what it was computed from."""
    energy, table = comparison.energy, options.energy_table
    return {
        "basis": energy.basis,
        "known": energy.is_known,
        "options": _pulses_record(options.energy, table, frame),
        "table": None if table is None else table.record(),
        "grid": comparison.grid.tolist(),
        "e_cell_j": band(energy.e_cell_j, axis=0) if energy.is_known else None,
        "extrapolated": energy.extrapolated.tolist(),
        "bits": bits,
        "scope": "programming only: SET plus RESET of every cell; reading and computing are "
        "outside",
    }


def _pulses_record(
    pulses: EnergyOptions | None, table: EnergyTable | None, frame: Frame
) -> dict[str, Any] | None:
    """Pulses at the value of the second variable; None where a table has all that is needed."""
    if pulses is None or (table is not None and table.is_complete):
        return None
    return pulses.at_second(frame).record()


def _what_is_open(
    uncertainty: Mapping[str, Any] | None, ranking: Mapping[str, Any] | None
) -> str | None:
    """Where the uncertainty of the saving comes from, and the first step of a ranking, if any."""
    found = [] if uncertainty is None else [str(uncertainty["sentence"])]
    if ranking is not None and ranking["ranking"] is not None:
        found.append(str(ranking["ranking"]["first"]))
    return " ".join(found) or None


def _provenance(
    device: DeviceStudy, networks: Mapping[str, NetworkStudy], seed: int, command: str
) -> dict[str, Any]:
    return {
        "command": command,
        "seeds": {
            "device fit": device.main.record["sampler"]["seed"],
            "decision": seed,
            "chips": {n: int(s.counts.attrs["seed"]) for n, s in networks.items()},
        },
        "versions": versions("torch"),
        "inputs": {
            "measurements_sha256": device.record["data"]["sha256"],
            **{
                f"{key} ({n})": str(s.counts.attrs[key])
                for key in ("images_sha256", "network_sha256")
                for n, s in networks.items()
            },
        },
    }
