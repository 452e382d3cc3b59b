"""Networks that a command names, trains and counts.

Heavy packages are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reliability.cli.inputs import given

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet
    from reliability.cli.options import ImageChoices, NetworkChoices
    from reliability.files.progress import Narrator
    from reliability.networks.study import NetworkOptions, NetworkStudy


def network_options(
    images: str,
    seed: int,
    threads: int,
    said: NetworkChoices | None = None,
    **changes: Any,
) -> NetworkOptions:
    """Defaults of an image set with what the user changed; further changes by name, None for none.

    Raises
    ------
    ValueError
        An unknown image set, or widths that are no positive numbers.
    """
    from dataclasses import replace

    from bnn.images.sets import IMAGE_SETS
    from reliability.networks.study import options_for

    if images not in IMAGE_SETS:
        raise ValueError(f"--images {images!r} is not known; known: {', '.join(IMAGE_SETS)}")
    if said is not None:
        changes |= {"hidden": _widths(said.hidden), "epochs": said.epochs}
    return replace(options_for(images), seed=seed, threads=threads, **given(**changes))


def _widths(hidden: str | None) -> tuple[int, ...] | None:
    """Widths of hidden layers, from a text like ``1024,1024``."""
    if hidden is None:
        return None
    try:
        widths = tuple(int(text) for text in hidden.split(","))
    except ValueError:
        raise ValueError(f"--hidden {hidden!r}: give widths like 1024,1024") from None
    if min(widths) < 1:
        raise ValueError(f"--hidden {hidden!r}: widths must be positive")
    return widths


def load_networks(
    paths: list[Path], images: ImageChoices
) -> tuple[ImageSet, list[tuple[str, Any, dict[str, Any]]]]:
    """The image set, and the networks of a user with distinct names."""
    from reliability.networks.names import names_of
    from reliability.networks.records import open_network

    found = [(path, *open_network(path)) for path in paths]
    image_set = images.load(found)
    names = names_of([record for *_, record in found])
    named = [(name, net, record) for name, (_, net, record) in zip(names, found, strict=True)]
    return image_set, named


def study_networks(
    ready: list[tuple[str, Any, dict[str, Any]]],
    images: ImageSet,
    options: NetworkOptions,
    narrator: Narrator,
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The user's networks, or a standard one and one trained for errors."""
    from reliability.networks.study import name_of, train_network

    yield from ready
    for rate in () if ready else (0.0, options.train_ber):
        folded, record = train_network(
            images, options, ber=rate, say=narrator.say, tick=narrator.tick
        )
        yield name_of(record), folded, record


def with_treatments(options: NetworkOptions, words: list[str] | None) -> NetworkOptions:
    """Options with the treatments of thresholds that the user asked for, fixed ones first."""
    from dataclasses import replace

    from bnn.calibration.treatments import FIXED

    if not words:
        return options
    treatments = tuple(dict.fromkeys([FIXED, *treatments_of(words)]))
    return replace(options, treatments=treatments, calibrated_chips=None)


def treatments_of(words: list[str] | None) -> tuple[str, ...]:
    """Treatments of thresholds by the words of ``--thresholds``; all without any.

    Raises
    ------
    ValueError
        A word that is not known.
    """
    from reliability.networks.treated import TREATMENTS

    for word in words or ():
        if word not in TREATMENTS:
            raise ValueError(f"--thresholds {word!r} is not known; known: {', '.join(TREATMENTS)}")
    return tuple(TREATMENTS[word] for word in words or TREATMENTS)


def network_stems(
    ready: list[tuple[str, Any, dict[str, Any]]], options: NetworkOptions, *, taken: list[str]
) -> dict[str, str]:
    """Stems of files for the networks of a run and their counts, by name; none of those taken.

    Raises
    ------
    ValueError
        Two of them have one name.
    """
    from reliability.files.file_names import file_stems
    from reliability.networks.study import name_of

    trained = [{"training": {"ber": rate}} for rate in (0.0, options.train_ber)]
    networks = [(name, record) for name, _, record in ready]
    names = [
        of
        for name, record in networks or [(name_of(record), record) for record in trained]
        for of in (name, *_treated_names(name, record, options).values())
    ]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two networks are called {name!r}; leave one out")
    return file_stems(names, taken=[Path(file).stem for file in taken])


def _treated_names(name: str, record: dict[str, Any], options: NetworkOptions) -> dict[str, str]:
    """What counts of a network are called, by the treatments that it is counted with besides."""
    from bnn.calibration.treatments import FIXED
    from reliability.networks.treatments import treatment_of

    if treatment_of(record) != FIXED:
        return {}
    return {t: f"{name}, thresholds {t}" for t in options.treatments if t != FIXED}


def evaluated(
    name: str,
    folded: Any,
    record: dict[str, Any],
    images: ImageSet,
    options: NetworkOptions,
    narrator: Narrator,
) -> Iterator[tuple[str, NetworkStudy]]:
    """Counts of one network with each treatment of its thresholds, and their names."""
    from dataclasses import replace

    from bnn.calibration.treatments import FIXED, PER_CHIP
    from reliability.networks.study import BER_GRID, counting_words, evaluate_network
    from reliability.networks.treated import treated_study
    from reliability.networks.treatments import reference_from, treated_record

    counted = counting_words(folded, images, options, FIXED, len(BER_GRID))
    narrator.say(f"evaluating the network {name!r}: {counted}")
    yield name, evaluate_network(folded, images, options, record, tick=narrator.tick)
    treated = _treated_names(name, record, options)
    if not treated:
        return
    reference = reference_from(
        folded, images, number=None, seed=options.seed, threads=options.threads
    )
    for treatment, treated_name in treated.items():
        chips = options.chips
        if treatment == PER_CHIP and options.calibrated_chips is not None:
            chips = min(chips, options.calibrated_chips)
        few = replace(options, chips=chips)
        counted = counting_words(folded, images, few, treatment, len(BER_GRID))
        narrator.say(f"evaluating it with thresholds {treatment}: {counted}")
        study = treated_study(
            reference,
            images,
            few,
            treated_record(record, treatment, reference, images, seed=options.seed),
            treatment=treatment,
            tick=narrator.tick,
        )
        yield treated_name, study
