"""From a device study and counts of networks to the frozen results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.error_rates import ber_curves
from devicefit.prediction.stacking import StackedDevice
from devicefit.sampling.sampler import versions
from devicefit.simulation.reference_device import ReferenceDevice
from reliability.accuracy.propagation import pair_draws
from reliability.accuracy.surface import AccuracySurface
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.confirmation.words import confirmation_record, readings_gates
from reliability.decision.designs import (
    STANDARD,
    Comparison,
    compare_designs,
    curves_by_array,
    loss_limits,
)
from reliability.decision.requirement import Requirement
from reliability.decision.saving import saving_record
from reliability.decision.second_variable import compared_values, leading
from reliability.device.study import DeviceStudy, Say
from reliability.energy.energy import EnergyOptions, programming_energy
from reliability.energy.tables import EnergyTable
from reliability.networks.study import NetworkStudy
from reliability.networks.treatments import treatment_of
from reliability.plans.storage import STORAGES, Storage
from reliability.results import records
from reliability.results.alternatives import alternative_records
from reliability.results.results import Results
from reliability.results.truth import truth_record
from reliability.results.verdict import verdict_record
from reliability.results.withheld import Made
from reliability.statements.choices import Cycles, choices_record, pareto_record
from reliability.statements.counted_rates import counted_rates_gate, counted_rates_record
from reliability.uncertainty.saving_uncertainty import saving_uncertainty

if TYPE_CHECKING:
    from devicefit.life.study import Life
    from reliability.confirmation.confirmed import Confirming

PAIRED_DRAWS = 2000


def answer(
    device: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    *,
    requirement: Requirement,
    sensing: SensingOptions,
    energy_options: EnergyOptions | None,
    energy_table: EnergyTable | None = None,
    cycles_to_requirement: Cycles = None,
    lives: Sequence[Life] = (),
    with_next: bool = False,
    seconds: Sequence[float] = (),
    storages: Sequence[Storage] = STORAGES,
    one_is: str = "LRS",
    seed: int,
    command: str,
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
    requirement, sensing, energy_options
        What must hold, how bits are read, pulses (None: nothing is known of them).
    energy_table : EnergyTable, optional
        Measured energies or currents. Without them and without pulses no energy is known: the
        decision then gives the safe programming and no saving.
    cycles_to_requirement : float array, shape (draw, x), or mapping of (network, scheme), optional
        Endurance for the Pareto front: cycles after which the requirement is no longer met.
    lives : sequence of Endurance, Retention or CycledCells
        What is known of the life that the requirement asks for; the answer is then about the end
        of that life, with fresh cells beside it. Cycles to wear-out over programming give the
        endurance of the Pareto front.
    with_next : bool
        Whether to rank further measurements, which takes seconds.
    seconds : sequence of float, optional
        Values of the device's second programming variable that are compared; those measured when
        left out.
    storages : sequence of Storage, optional
        Ways to store bits that are compared.
    one_is : {"LRS", "HRS"}, optional
        State that stores the weight +1.
    seed : int
        Seed of the pairing of draws and of the draws of the surfaces.
    command : str
        Command line that reproduces the results.
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
    """
    frame = device.main.frame
    seconds = tuple(seconds) or compared_values(None, frame.second, device.second_values)
    studies = [device.at_second(value) for value in seconds] or [device]
    fresh: list[Comparison] = []
    for study in studies:
        fresh.append(
            compare(
                study,
                networks,
                requirement,
                sensing,
                energy_options,
                seed,
                energy_table=energy_table,
                storages=storages,
                one_is=one_is,
                curves=fresh[0].curves if fresh else None,
            )
        )
    compared, ageings = fresh, None
    if lives:
        # imported here: few decisions need the models of life
        from reliability.confirmation.aged import Ageing
        from reliability.statements.life import (
            at_end_of_life,
            design_cycles,
            life_asked,
            life_record,
        )

        required = life_asked(requirement)
        ended = [at_end_of_life(one, lives, required, seed=seed) for one in fresh]
        compared = [aged for aged, _ in ended]
        ageings = [Ageing(factor, aged.grid, seed) for aged, factor in ended]
    if confirming is not None:
        # imported here: without networks a decision needs none of their packages
        from reliability.confirmation.confirmed import confirm_each

        compared = confirm_each(compared, confirming, say, ageings=ageings)
    best = leading(compared)
    c, device = compared[best], studies[best]
    frame = device.main.frame
    if energy_options is not None:
        energy_options = energy_options.at_second(frame)
    limits = loss_limits(c.curves, requirement)
    rates = counted_rates_record(c)
    gates = [
        *device.record["gates"],
        records.surface_gate(c.curves).record(),
        counted_rates_gate(c).record(),
        *readings_gates(c),
    ]
    saving = {r.key: saving_record(c, r) for r in c.references}
    uncertainty = saving_uncertainty(c, seed=seed)
    ranking = None
    if with_next:
        # imported here: no other answer needs it
        from reliability.measure_next.short import next_record

        ranking = next_record(
            device,
            c,
            networks,
            shares=((uncertainty or {}).get("against", {}).get(STANDARD) or {}).get("share"),
            seed=seed,
            life=bool(lives),
        )
    choices = choices_record(c, c.focus)
    life = None
    if lives:
        life = life_record(fresh[best], c, ended[best][1], lives, required)
        gates += life["gates"]
        if cycles_to_requirement is None:
            cycles_to_requirement = design_cycles(fresh[best], lives, seed=seed)
    bits = int(networks[c.focus.network].counts.attrs["weights"])
    values: dict[str, Any] = {
        "verdict": verdict_record(
            c,
            saving,
            gates,
            device=device.record,
            regret=(choices["energy_regret"] or {}).get("sentence"),
            uncertainty=_what_is_open(uncertainty, ranking),
            life=life,
            not_confirmed="" if confirming is None else confirming.missing,
            arrays=frame.arrays,
            made=Made(command, device.main.record["sampler"], c.standard.chips),
            simulated=bool(device.record["data"]["simulated"]),
        ),
        "programming": {
            "name": frame.programming.name,
            "unit": frame.programming.unit,
            "measured_low": frame.low,
            "measured_high": frame.high,
            "logarithmic": frame.programming.is_logarithmic,
            "second": None
            if frame.second is None
            else {
                "name": frame.second.name,
                "unit": frame.second.unit,
                "value": frame.second_reference,
                "compared": list(seconds),
                "measured": list(device.second_values),
            },
        },
        "requirement": requirement.record(),
        "data": device.record["data"],
        "device": records.device_record(device, sensing),
        "ber": records.ber_record(fresh[best], device),
        "networks": {
            name: records.network_record(networks[name], curve) for name, curve in c.curves.items()
        },
        "accuracy": {
            name: {
                d.scheme: records.accuracy_record(d, c.grid, requirement.risk)
                for d in c.designs
                if d.network == name
            }
            for name in c.curves
        },
        "tolerated_ber": {
            name: records.tolerated_record(ln_tolerated, limits[name])
            for name, ln_tolerated in c.tolerated_ln_ber.items()
        },
        "safe_programming": {
            name: {d.scheme: records.safe_record(d) for d in c.designs if d.network == name}
            for name in c.curves
        },
        "energy_saving": {
            "design": {"network": c.focus.network, "scheme": c.focus.scheme},
            **saving,
        },
        "saving_shares": uncertainty,
        "energy": {
            "basis": c.energy.basis,
            "known": c.energy.is_known,
            "options": None
            if energy_options is None or (energy_table is not None and energy_table.is_complete)
            else energy_options.record(),
            "table": None if energy_table is None else energy_table.record(),
            "grid": c.grid.tolist(),
            "e_cell_j": records.band(c.energy.e_cell_j, axis=0) if c.energy.is_known else None,
            "extrapolated": c.energy.extrapolated.tolist(),
            "bits": bits,
            "scope": "programming only: SET plus RESET of every cell; reading and computing are "
            "outside",
        },
        "alternatives": alternative_records(compared, networks),
        "confirmation": confirmation_record(c),
        "unequal_errors": rates,
        "choices": choices,
        "pareto": pareto_record(c, cycles_to_requirement),
        "life": life,
        "gates": gates,
        "provenance": _provenance(device, networks, seed, command),
    }
    if ranking is not None:
        values["measure_next"] = ranking
    # the truth that is known is that of fresh cells
    if truth is not None and life is None:
        values["simulated_truth"] = truth_record(truth, c, values)
    return Results(values)


def compare(
    device: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    requirement: Requirement,
    sensing: SensingOptions,
    energy_options: EnergyOptions | None,
    seed: int,
    *,
    energy_table: EnergyTable | None = None,
    storages: Sequence[Storage] = STORAGES,
    one_is: str = "LRS",
    curves: dict[str, AccuracySurface] | None = None,
) -> Comparison:
    """All designs and references on the same draws; arguments as of :func:`answer`.

    A device with a second programming variable has its reference value; see
    :meth:`reliability.device.study.DeviceStudy.at_second`. `curves` of an earlier comparison of the
    same networks need not be fitted again.

    Raises
    ------
    ValueError
        There is one condition only.
    """
    posterior, grid = device.main, device.grid
    if curves is None:
        curves = fit_accuracy_surfaces(networks, seed=seed, cores=2)
    if posterior.frame.is_single:
        raise ValueError(
            "all readings are at one condition, so there is no programming to choose; measure two "
            "conditions or more, or stop at `fit`, `ber`, `predict` and `evaluate --device`"
        )
    fitted = {posterior.family: posterior, **device.posteriors}
    ber = {name: ber_curves(p, grid, options=sensing) for name, p in fitted.items()}
    rng = np.random.default_rng([seed, 2])
    by_array = curves_by_array(posterior, ber[posterior.family]["1T1R"], options=sensing)
    pairing = pair_draws(
        posterior.diagnostics.draws,
        next(iter(curves.values())).draws,
        draws=PAIRED_DRAWS,
        rng=rng,
        arrays=max(1, len(by_array)),
    )
    if energy_options is not None:
        energy_options = energy_options.at_second(posterior.frame)
    energy = programming_energy(
        posterior, grid, pairing.device, options=energy_options, table=energy_table, rng=rng
    )
    frame = posterior.frame
    found = compare_designs(
        ber,
        dict(curves),
        pairing,
        energy,
        requirement=requirement,
        sensing=sensing,
        programming=posterior.frame.programming,
        family=posterior.allotment().ravel() if isinstance(posterior, StackedDevice) else None,
        storages=storages,
        one_is=one_is,
        by_array=by_array,
    )
    second = None if frame.second is None else (frame.second, frame.second_reference)
    thresholds = {name: treatment_of(study.record) for name, study in networks.items()}
    return replace(found, second=second, thresholds=thresholds)


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
                f"images_sha256 ({n})": str(s.counts.attrs["images_sha256"])
                for n, s in networks.items()
            },
            **{
                f"network_sha256 ({n})": str(s.counts.attrs["network_sha256"])
                for n, s in networks.items()
            },
        },
    }
