"""``decide`` and ``measure-next``: from stored posteriors and counts to an answer."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli.decision_inputs import answer_from, confirming_with, decision_options, on_study
from reliability.cli.guards import exit_1_on_failure, exit_2_on_bad_input, print_verdict
from reliability.cli.inputs import given
from reliability.cli.options import (
    ConfirmChoices,
    DecisionChoices,
    ForceOption,
    ImagesDirOption,
    LivesOption,
    QuietOption,
    RunChoices,
    SeedOption,
    opened,
)

if TYPE_CHECKING:
    from reliability.measure_next.candidates import Candidate
    from reliability.measure_next.outlook import ChoiceOutlook
    from reliability.measure_next.ranking import MeasureNext

decision_commands = typer.Typer()


@decision_commands.command()
@opened
def decide(
    *,
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    counts: Annotated[
        list[Path],
        typer.Option(help="Counts written by `evaluate`; the standard network first. Repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Results to write (.json).")],
    asked: DecisionChoices,
    confirm: ConfirmChoices,
    life_files: LivesOption = None,
    networks_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--networks",
            help="Folder of the networks that were counted, to confirm the design by chips; the "
            "folders of the counts and the zoo are searched too. Repeatable.",
        ),
    ] = None,
    images_dir: ImagesDirOption = None,
    running: RunChoices,
) -> None:
    """Decide from stored posteriors and counts: lowest safe programming and energy saving."""
    from reliability.confirmation.confirmables import networks_in
    from reliability.device.files import load_study
    from reliability.files.output import check_file, staged_file
    from reliability.files.progress import Narrator
    from reliability.networks.images import load_image_set

    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".json")
        study = load_study(device)
        options = decision_options(asked, life_files, seed=running.seed)
        options, networks = on_study(options, asked, study, counts)
        folders = _network_folders(networks_dir or [], counts)
    with (
        exit_1_on_failure(),
        staged_file(out, force=running.force) as stage,
        Narrator(quiet=running.quiet) as narrator,
    ):
        confirming = confirming_with(
            study,
            networks,
            networks_in(folders),
            partial(load_image_set, directory=images_dir, download=False),
            confirm,
            seed=running.seed,
            threads=running.threads,
        )
        results = answer_from(
            study, networks, options, narrator, simulated=False, confirming=confirming
        )
        stage.write_text(results.to_json(), encoding="utf-8")
    print_verdict(results)
    typer.echo(f"results: {out}")


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
    counts: Annotated[
        list[Path],
        typer.Option(help="Counts written by `evaluate`; the standard network first. Repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Ranking to write (.json).")],
    csv: Annotated[
        Path | None, typer.Option("--csv", help="The table once more, as a CSV file.")
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE:...",
            help="What might be done: programming=VALUE:devices=N[:cycles=N], more_cycles=N, "
            "chips=N, images=N, or programming=VALUE:energy_se=FRACTION. Repeatable. Default: a "
            "list of usual ones.",
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(help="The same from a file: TOML tables [[candidate]], or CSV."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Saving against: standard_bnn (default), memory, or memory_with_ecc."),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(help="Saving on this test-set (default), or for the population of images."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Design whose saving is known better: its network, by name.")
    ] = None,
    stored_as: Annotated[
        str | None,
        typer.Option(
            help="The same: how it is stored, like '1T1R + SECDED(72,64)'. Default: what `decide` "
            "recommends."
        ),
    ] = None,
    simulations: Annotated[
        int | None, typer.Option(min=10, help="Simulated outcomes of each candidate.")
    ] = None,
    asked: DecisionChoices,
    seed: SeedOption = 1,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rank further measurements by what they are expected to do to the interval of the saving."""
    import numpy as np

    from devicefit.numerics.stored import document_text
    from reliability.decision.compare import compare
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study
    from reliability.files.output import check_file, staged_file
    from reliability.files.progress import Narrator
    from reliability.measure_next.candidates import MeasuredEnergy, MoreCycles, MoreDevices
    from reliability.measure_next.options import (
        MeasureNextOptions,
        check_design_names,
        chosen_design,
    )
    from reliability.measure_next.ranking import measure_next
    from reliability.measure_next.readings import planned_readings
    from reliability.measure_next.usual import usual_candidates

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".json")
        if csv is not None:
            check_file(csv, force=force, suffix=".csv", option="--csv")
        options = decision_options(asked, seed=seed)
        if options.energy is None:
            raise ValueError(
                "--energy none: without energies there is no saving to know better; leave it out"
            )
        judging = MeasureNextOptions(
            **given(
                reference=reference,
                network=network,
                stored_as=stored_as,
                question=question,
                simulations=simulations,
            )
        )
        study = at_one_second(load_study(device), asked.second)
        frame = study.main.frame
        options, networks = on_study(options, asked, study, counts)
        chosen = _chosen(candidate or [], candidates, frame.programming)
        for one in chosen:
            if isinstance(one, MoreDevices | MeasuredEnergy):
                frame.check(np.array([one.programming]), "candidate: programming")
            if isinstance(one, MoreDevices | MoreCycles):
                planned_readings(one, study)
        check_design_names(list(networks), network, stored_as)
    with (
        exit_1_on_failure(),
        staged_file(out, force=force) as stage,
        nullcontext() if csv is None else staged_file(csv, force=force, option="--csv") as table,
        Narrator(quiet=quiet) as narrator,
    ):
        narrator.say("propagating bit errors to accuracy")
        comparison = compare(study, networks, options)
        chosen = chosen or usual_candidates(
            comparison, study, chosen_design(comparison, network, stored_as)
        )
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


def _chosen(texts: list[str], path: Path | None, programming: object) -> list[Candidate]:
    from devicefit.inputs.programming import Programming
    from reliability.measure_next.files import parse_candidate, read_candidates

    assert isinstance(programming, Programming)
    found = [parse_candidate(text, programming) for text in texts]
    return found + ([] if path is None else read_candidates(path, programming))


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
