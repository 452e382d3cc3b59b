"""How a command ends: messages and exit codes, and the verdicts that several commands print."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reliability.output import KeptElsewhereError, OutputError

if TYPE_CHECKING:
    from reliability.results import Results


class Stop(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def checking_input() -> Iterator[None]:
    """What goes wrong inside is wrong use or bad input."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise Stop(str(error), 2) from error


@contextmanager
def working() -> Iterator[None]:
    """What goes wrong inside is a failed job."""
    # imported here: a command that only checks its input needs no linear algebra
    from devicefit.threads import one_blas_thread

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
        if os.environ.get("RRAM_RELIABILITY_DEBUG"):
            raise
        from devicefit.backend import NotFinite

        if isinstance(error, NotFinite):
            raise Stop(f"{error}\nnothing was written", 2) from error
        raise Stop(
            f"the job failed: {type(error).__name__}: {error}\n"
            "nothing was written; set RRAM_RELIABILITY_DEBUG=1 to see where it happened",
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
    """Say the gates and the answer, a few lines to take along, then the alternatives."""
    from reliability.alternatives import alternative_lines

    verdict = results.values["verdict"]
    if verdict["simulated"]:
        typer.echo("SIMULATED DEVICE: nothing here was measured")
    print_gates(results.values["gates"])
    utility = (results.values.get("choices") or {}).get("utility")
    unequal = results.values.get("unequal_errors")
    said = [part["sentence"] for part in (unequal, utility) if part]
    for line in [*verdict["lines"], *said]:
        typer.echo(line)
    typer.echo(verdict["failed"])
    for line in alternative_lines(results.values):
        typer.echo(line)
