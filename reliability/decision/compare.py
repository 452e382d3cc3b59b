"""Every network with every way of storing it, on the same draws of device, surface and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.error_rates import array_curves, ber_curves
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.new_arrays import ENOUGH_ARRAYS
from devicefit.numerics.arrays import FloatArray
from devicefit.prediction.stacking import StackedDevice
from reliability.accuracy.propagation import pair_draws, propagate
from reliability.accuracy.surface import AccuracySurface, tolerated_ln_ber
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.chips.chip_yield import chip_yield
from reliability.decision.comparison import Comparison, Design, Setting
from reliability.decision.options import ONE_CONDITION, DecisionOptions
from reliability.decision.references import references
from reliability.decision.safe_set import safe_set
from reliability.device.study import DeviceStudy
from reliability.energy.energy import programming_energy
from reliability.networks.study import NetworkStudy
from reliability.networks.treatments import treatment_of
from reliability.plans.codes import NO_CODE
from reliability.plans.seen_rates import SeenRates
from reliability.plans.storage import STORAGES, Storage

PAIRED_DRAWS = 2000


def compare(
    device: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    options: DecisionOptions,
    *,
    curves: dict[str, AccuracySurface] | None = None,
) -> Comparison:
    """All designs and references of a device and counted networks.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device. With a second programming variable it has its reference value; see
        :meth:`reliability.device.study.DeviceStudy.at_second`.
    networks : mapping of str to NetworkStudy
        The standard network first; the requirement refers to its accuracy without errors.
    options : DecisionOptions
        What must hold, how bits are read and stored, what is known of energy; its lives and values
        of a second variable are not looked at.
    curves : dict of str to AccuracySurface, optional
        Of an earlier comparison of the same networks, which need not be fitted again.

    Raises
    ------
    ValueError
        There is one condition only.
    """
    posterior, frame, grid = device.main, device.main.frame, device.grid
    if frame.is_single:
        raise ValueError(ONE_CONDITION)
    if curves is None:
        curves = fit_accuracy_surfaces(networks, seed=options.seed, cores=2)
    fitted = {posterior.family: posterior, **device.posteriors}
    ber = {name: ber_curves(p, grid, options=options.sensing) for name, p in fitted.items()}
    rng = np.random.default_rng([options.seed, 2])
    by_array = curves_by_array(posterior, ber[posterior.family]["1T1R"], options=options.sensing)
    pairing = pair_draws(
        posterior.diagnostics.draws,
        next(iter(curves.values())).draws,
        draws=PAIRED_DRAWS,
        rng=rng,
        arrays=max(1, len(by_array)),
    )
    pulses = None if options.energy is None else options.energy.at_second(frame)
    energy = programming_energy(
        posterior, grid, pairing.device, options=pulses, table=options.energy_table, rng=rng
    )
    setting = Setting(
        requirement=options.requirement,
        sensing=options.sensing,
        programming=frame.programming,
        ber=ber,
        curves=dict(curves),
        pairing=pairing,
        energy=energy,
        family=posterior.allotment().ravel() if isinstance(posterior, StackedDevice) else None,
        one_is=options.one_is,
        second=None if frame.second is None else (frame.second, frame.second_reference),
        thresholds={name: treatment_of(study.record) for name, study in networks.items()},
        by_array=by_array,
    )
    return compare_designs(setting, options.storages)


def compare_designs(setting: Setting, storages: Sequence[Storage] = STORAGES) -> Comparison:
    """Propagate every network with every storage, and find the references.

    `storages` begin with single cells without a code, in which the references are held.

    Raises
    ------
    ValueError
        They do not.
    """
    if not storages or (storages[0].scheme, storages[0].code) != ("1T1R", NO_CODE):
        raise ValueError(f"storages must begin with single cells without a code, got {storages}")
    s = setting
    seen = {of: seen_rates(of, s.main_ber, s.by_array, s.one_is) for of in storages}
    of_rates = None if s.family is None else np.repeat(s.family, max(1, len(s.by_array)))
    limits = s.limits

    def of_network(name: str) -> FloatArray:
        return tolerated_ln_ber(s.curves[name], limits[name])

    def design(name: str, storage: Storage) -> Design:
        draws = propagate(s.curves[name], seen[storage], s.pairing, family=of_rates)
        met = chip_yield(s.curves[name], seen[storage], s.pairing, limits[name])
        safe = safe_set(s.grid, met.p_met, s.requirement, s.programming)
        return Design(name, storage, draws, met.p_met, safe, met, s.enough(met.share_or_nan))

    wanted = [(name, storage) for name in s.curves for storage in storages]
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        designs = list(pool.map(lambda of: design(*of), wanted))
        ln_tolerated = dict(zip(s.curves, pool.map(of_network, s.curves), strict=True))
    memory = seen[storages[0]].ln_ber[s.pairing.rates]
    return Comparison(
        **vars(setting),
        designs=tuple(designs),
        references=references(s, designs[0], memory),
        tolerated_ln_ber=ln_tolerated,
        seen=seen,
    )


def curves_by_array(
    posterior: Fitted, curve: BerCurve, *, options: SensingOptions
) -> list[dict[str, BerCurve]]:
    """BER of the arrays that a chip may lie on; none where one was measured.

    Of each of a few measured ones, or, where they are enough to tell how arrays differ, of a new
    one, drawn for each draw of the device. Arguments as of
    :func:`devicefit.fitting.error_rates.array_curves`.
    """
    measured = len(posterior.frame.arrays)
    if measured == 1:
        return []
    if measured < ENOUGH_ARRAYS:
        return array_curves(posterior, curve, options=options)
    return array_curves(posterior.with_new_arrays(1), curve, options=options, arrays=[measured])


def seen_rates(
    storage: Storage,
    curves: Mapping[str, BerCurve],
    by_array: Sequence[Mapping[str, BerCurve]],
    one_is: str,
) -> SeenRates:
    """Rates that a network sees; rows are draws times arrays of :func:`curves_by_array`.

    All cells of a chip lie on one array, so its rates are those of an array, not of a cell of any.
    """
    if not by_array:
        return storage.seen(curves, one_is)
    each = [storage.seen(one, one_is) for one in by_array]
    values = each[0].ln_ber.shape[1]
    ln_ber, tilt = (
        np.stack([getattr(one, name) for one in each], axis=1).reshape(-1, values)
        for name in ("ln_ber", "tilt")
    )
    return SeenRates(ln_ber, tilt)
