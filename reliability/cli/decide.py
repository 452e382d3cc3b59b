"""``decide`` and ``measure-next``: from stored posteriors and counts to an answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reliability.cli.decision_inputs import (
    AnswerChoices,
    DecisionChoices,
    decision_options,
    on_study,
)
from reliability.cli.guards import exit_2_on_bad_input, print_verdict
from reliability.cli.inputs import given
from reliability.cli.options import (
    ImagesDirOption,
    Output,
    SeedOption,
    SimulationChoices,
    opened,
    option,
)

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet
    from reliability.confirmation.confirmables import Find
    from reliability.confirmation.confirmed import Confirmable
    from reliability.decision.options import DecisionOptions
    from reliability.device.study import DeviceStudy
    from reliability.files.progress import Narrator
    from reliability.measure_next.candidates import Candidate
    from reliability.measure_next.options import MeasureNextOptions
    from reliability.measure_next.outlook import ChoiceOutlook
    from reliability.measure_next.ranking import MeasureNext
    from reliability.networks.study import NetworkStudy
    from reliability.results.results import Results

decision_commands = typer.Typer()

CountsOption = Annotated[
    list[Path],
    typer.Option(help="Counts written by `evaluate`; the standard network first. Repeatable."),
]


@dataclass(frozen=True)
class RankingChoices:
    """Candidates for further measurements, and the saving that they are ranked for."""

    candidate: list[str] | None = option(
        metavar="KEY=VALUE:...",
        help="What might be done: programming=VALUE:devices=N[:cycles=N], more_cycles=N, "
        "chips=N, images=N, or programming=VALUE:energy_se=FRACTION. Repeatable. Default: a "
        "list of usual ones.",
    )
    candidates: Path | None = option(
        help="The same from a file: TOML tables [[candidate]], or CSV."
    )
    reference: str | None = option(
        help="Saving against: standard_bnn (default), memory, or memory_with_ecc."
    )
    question: str | None = option(
        help="Saving on this test-set (default), or for the population of images."
    )
    network: str | None = option(help="Design whose saving is known better: its network, by name.")
    stored_as: str | None = option(
        help="The same: how it is stored, like '1T1R + SECDED(72,64)'. Default: what `decide` "
        "recommends."
    )
    simulations: int | None = option(min=10, help="Simulated outcomes of each candidate.")

    def options(self) -> MeasureNextOptions:
        """How candidates are judged."""
        from reliability.measure_next.options import MeasureNextOptions

        return MeasureNextOptions(
            **given(
                reference=self.reference,
                network=self.network,
                stored_as=self.stored_as,
                question=self.question,
                simulations=self.simulations,
            )
        )

    def chosen(self, study: DeviceStudy) -> list[Candidate]:
        """Candidates that the user names, none for the usual ones; those that fit the device.

        Raises
        ------
        ValueError
            A candidate that cannot be read, or that the device does not have readings for.
        """
        import numpy as np

        from reliability.measure_next.candidates import MeasuredEnergy, MoreCycles, MoreDevices
        from reliability.measure_next.files import parse_candidate, read_candidates
        from reliability.measure_next.readings import planned_readings

        frame = study.main.frame
        found = [parse_candidate(text, frame.programming) for text in self.candidate or []]
        if self.candidates is not None:
            found += read_candidates(self.candidates, frame.programming)
        for one in found:
            if isinstance(one, MoreDevices | MeasuredEnergy):
                frame.check(np.array([one.programming]), "candidate: programming")
            if isinstance(one, MoreDevices | MoreCycles):
                planned_readings(one, study)
        return found


@decision_commands.command()
@opened
def decide(
    *,
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    counts: CountsOption,
    out: Annotated[Path, typer.Option(help="Results to write (.json).")],
    asked: AnswerChoices,
    networks_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--networks",
            help="Folder of the networks that were counted, to confirm the design by chips; the "
            "folders of the counts and the zoo are searched too. Repeatable.",
        ),
    ] = None,
    images_dir: ImagesDirOption = None,
    simulation: SimulationChoices,
    output: Output,
) -> None:
    """Decide from stored posteriors and counts: lowest safe programming and energy saving."""
    from reliability.confirmation.confirmables import networks_in
    from reliability.device.files import load_study
    from reliability.networks.images import load_image_set

    with exit_2_on_bad_input():
        output.check_file(out, ".json")
        options = decision_options(asked, seed=simulation.seed)
        study = load_study(device)
        options, networks = on_study(options, asked, study, counts)
        folders = _network_folders(networks_dir or [], counts)
    with output.file(out) as (stage, narrator):
        results = answer_from(
            study,
            networks,
            options,
            asked,
            narrator,
            threads=simulation.threads,
            find=networks_in(folders),
            images_of=partial(load_image_set, directory=images_dir, download=False),
        )
        stage.write_text(results.to_json(), encoding="utf-8")
    print_verdict(results)
    typer.echo(f"results: {out}")


def answer_from(
    study: DeviceStudy,
    networks: dict[str, NetworkStudy],
    options: DecisionOptions,
    asked: AnswerChoices,
    narrator: Narrator,
    *,
    threads: int,
    find: Find,
    images_of: Callable[[str], ImageSet],
    **further: Any,
) -> Results:
    """Results with the command line in them, and designs confirmed by chips as was asked for.

    Parameters
    ----------
    study, networks, options
        Fitted device, counted networks and what is to be decided.
    asked : AnswerChoices
        How designs are confirmed.
    narrator : Narrator
        Tells what is being done.
    threads : int
        CPU threads.
    find, images_of : callable
        Network by its SHA-256, image set by its name.
    **further
        Further arguments of :func:`reliability.results.answer.answer`.
    """
    from reliability.confirmation.confirmables import confirmables
    from reliability.confirmation.confirming import Confirming
    from reliability.results.answer import answer

    found: dict[str, Confirmable] = {}
    missing = "--confirm-minutes 0 was asked for"
    if asked.confirm_minutes > 0:
        found, missing = confirmables(networks, find, images_of, threads=threads)
    confirming = Confirming(
        found,
        device=study.main,
        arrays_per_chip=asked.arrays_per_chip,
        measured=study.measured,
        missing=missing,
        threads=threads,
        seed=options.seed,
        **given(budget_s=60 * asked.confirm_minutes or None),
    )
    narrator.say("propagating bit errors to accuracy, deciding")
    return answer(
        study,
        networks,
        options,
        command=shlex.join(["rram-reliability", *sys.argv[1:]]),
        confirming=confirming,
        say=narrator.say,
        **further,
    )


def _network_folders(named: list[Path], counts: list[Path]) -> list[Path]:
    """Folders to search for networks: those that were named, then those of the counts."""
    for folder in named:
        if not folder.is_dir():
            raise ValueError(f"--networks {folder}: no such folder; name one that holds networks")
    return list(dict.fromkeys([*named, *(path.absolute().parent for path in counts)]))


@decision_commands.command("measure-next")
@opened
def measure_next_command(
    *,
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    counts: CountsOption,
    out: Annotated[Path, typer.Option(help="Ranking to write (.json).")],
    csv: Annotated[
        Path | None, typer.Option("--csv", help="The table once more, as a CSV file.")
    ] = None,
    ranking: RankingChoices,
    asked: DecisionChoices,
    seed: SeedOption = 1,
    output: Output,
) -> None:
    """Rank further measurements by what they are expected to do to the interval of the saving."""
    from devicefit.numerics.stored import document_text
    from reliability.decision.compare import compare
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study
    from reliability.files.output import staged_file
    from reliability.measure_next.options import check_design_names, chosen_design
    from reliability.measure_next.ranking import measure_next
    from reliability.measure_next.usual import usual_candidates

    design = ranking.network, ranking.stored_as
    with exit_2_on_bad_input():
        output.check_file(out, ".json")
        if csv is not None:
            output.check_file(csv, ".csv", "--csv")
        options = decision_options(asked, seed=seed)
        if options.energy is None:
            raise ValueError(
                "--energy none: without energies there is no saving to know better; leave it out"
            )
        judging = ranking.options()
        study = at_one_second(load_study(device), asked.second)
        options, networks = on_study(options, asked, study, counts)
        chosen = ranking.chosen(study)
        check_design_names(list(networks), *design)
    with (
        output.file(out) as (stage, narrator),
        nullcontext()
        if csv is None
        else staged_file(csv, force=output.force, option="--csv") as table,
    ):
        narrator.say("propagating bit errors to accuracy")
        comparison = compare(study, networks, options)
        chosen = chosen or usual_candidates(comparison, study, chosen_design(comparison, *design))
        narrator.say(f"simulating what {len(chosen)} candidates would show")
        found = measure_next(
            study,
            comparison,
            chosen,
            options=judging,
            seed=seed,
            bits={n: int(s.counts.attrs["weights"]) for n, s in networks.items()},
            tick=narrator.tick,
        )
        stage.write_text(document_text(found.record()), encoding="utf-8")
        if table is not None:
            _write_csv(found, table)
    for line in lines_of(found):
        typer.echo(line)
    typer.echo(f"ranking: {out}")


def _write_csv(found: MeasureNext, path: Path) -> None:
    import pandas as pd

    from reliability.measure_next.files import KEYS

    rows = []
    for rank, outlook in enumerate(found.outlooks, 1):
        record = outlook.record()
        said, choice = record.pop("candidate"), record.pop("choice") or {}
        rows.append({"rank": rank, **{key: said.get(key) for key in KEYS}, **record, **choice})
    pd.DataFrame(rows).to_csv(path, index=False)


def lines_of(found: MeasureNext) -> list[str]:
    """What the command prints."""
    lines = ["SIMULATED DEVICE: nothing here was measured"] if found.simulated else []
    question = "" if found.question == "test-set" else ", for the population of images"
    lines += [
        f"saving of {found.design} against {found.reference}{question}:",
        f"  {found.saving}; width of ln saving {found.width:.3g}",
        "",
        f"{'':>3}  {'interval':>15}  {'energy at the':>15}  {'choice':>8}  {'effective':>9}",
        f"{'':>3}  {'shrinks':>15}  {'choice saved':>15}  {'moves':>8}  {'draws':>9}  candidate",
    ]
    for rank, o in enumerate(found.outlooks, 1):
        draws = o.route if o.effective_draws is None else f"{o.effective_draws:.0f}"
        extra = "; outside the measured range" if o.extrapolated else ""
        note = f" ({o.note})" if o.note else ""
        lines.append(
            f"{rank:>3}  {100 * o.shrinkage:>z5.1f} % +- {100 * o.standard_error:>4.1f}  "
            f"{_saved(o.choice):>15}  {_moves(o.choice):>8}  {draws:>9}  {o.words}{extra}{note}"
        )
    return [*lines, "", found.sentence]


def _saved(choice: ChoiceOutlook | None) -> str:
    if choice is None or choice.ln_energy_saved is None or choice.standard_error is None:
        return "-"
    return f"{100 * choice.ln_energy_saved:z.1f} % +- {100 * choice.standard_error:>4.1f}"


def _moves(choice: ChoiceOutlook | None) -> str:
    return "-" if choice is None else f"P = {choice.p_notable:.2f}"
