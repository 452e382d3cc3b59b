"""How a command ends: messages and exit codes, and the verdicts that several commands print."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reliability.files.output import KeptElsewhereError, OutputError

if TYPE_CHECKING:
    from reliability.results.results import Results

DEBUG = "RRAM_RELIABILITY_DEBUG"
"""Environment variable: errors are shown with all that led to them."""

_ROOT = Path(__file__).resolve().parents[1]
"""Folder of our packages."""


class Stop(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def exit_2_on_refusal() -> Iterator[None]:
    """End the command with exit code 2 on ValueError or OSError, for checks within the work."""
    try:
        yield
    except (ValueError, OSError) as error:
        if _debugging():
            raise
        raise Stop(str(error), 2) from error


@contextmanager
def exit_2_on_bad_input() -> Iterator[None]:
    """End the command with exit code 2 on any error while its options and files are checked.

    Readers refuse with ValueError or OSError, which say what, where and the remedy. Anything else
    is a check that we lack: the message says where, the environment variable shows the rest.
    """
    try:
        with exit_2_on_refusal():
            yield
    except Exception as error:
        # Stop, and what Typer ends a command with, have a code of their own
        if _debugging() or isinstance(error, Stop) or hasattr(error, "exit_code"):
            raise
        # imported here: `--help` needs no arrays
        from devicefit.numerics.stored import reason

        raise Stop(
            f"the input cannot be used: {reason(error)} (met in {_place(error)}); check the files "
            f"and options of this command, or set {DEBUG}=1 to see more",
            2,
        ) from error


def _debugging() -> bool:
    return bool(os.environ.get(DEBUG))


def _place(error: Exception) -> str:
    """Innermost place of the project that an error came through."""
    places = traceback.extract_tb(error.__traceback__)
    folders = ("devicefit", "bnn", "reliability")
    ours = [p for p in places if any(_ROOT / f in Path(p.filename).parents for f in folders)]
    found = (ours or places)[-1]
    return f"{Path(found.filename).name}, line {found.lineno}"


@contextmanager
def exit_1_on_failure() -> Iterator[None]:
    """End the command with exit code 1 on any error while it works.

    Two errors end it with exit code 2, as their cause is in the options or the files: an output
    place that cannot be used, and draws that are not finite.
    """
    # imported here: a command that only checks its input needs no linear algebra
    from devicefit.numerics.threads import one_blas_thread

    try:
        with one_blas_thread():
            yield
    except Stop:
        raise
    except OutputError as error:
        raise Stop(str(error), 2) from error
    except KeptElsewhereError as error:
        raise Stop(str(error), 1) from error
    except Exception as error:
        if _debugging():
            raise
        from devicefit.sampling.sampler import NotFinite

        if isinstance(error, NotFinite):
            raise Stop(f"{error}\nnothing was written", 2) from error
        raise Stop(
            f"the job failed: {type(error).__name__}: {error}\n"
            f"nothing was written; set {DEBUG}=1 to see where it happened",
            1,
        ) from error


def check_files(paths: list[Path], option: str) -> None:
    """Refuse directories where files are named."""
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{option} {path} is a directory; name a file")


def print_gates(gates: list[dict[str, Any]]) -> None:
    """Say which gates failed, what to do, and how many passed."""
    for gate in gates:
        if not gate["passed"]:
            typer.echo(f"FAILED {gate['name']}: {gate['finding']}. Remedy: {gate['remedy']}")
    passed = sum(gate["passed"] for gate in gates)
    typer.echo(f"{passed} of {len(gates)} gates passed")


def print_verdict(results: Results) -> None:
    """Say the gates and the answer, a few lines to take along, then the alternatives.

    Where a gate failed the verdict is withheld: no figure of it is printed.
    """
    from reliability.results.alternatives import alternative_lines

    verdict = results.values["verdict"]
    if verdict["simulated"]:
        typer.echo("SIMULATED DEVICE: nothing here was measured")
    print_gates(results.values["gates"])
    for line in verdict["lines"]:
        typer.echo(line)
    if verdict["withheld"]:
        return
    utility = (results.values.get("choices") or {}).get("utility")
    unequal = results.values.get("unequal_errors")
    for part in (unequal, utility):
        if part:
            typer.echo(part["sentence"])
    typer.echo(verdict["failed"])
    for line in alternative_lines(results.values):
        typer.echo(line)
