"""Groups of options opened up for Typer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from reliability.cli.options import opened, option

Width = Annotated[float | None, typer.Option("--width", help="How wide.")]


@dataclass(frozen=True)
class Size:
    """Two options."""

    width: Width = None
    colours: list[str] | None = option(help="Repeatable.")


@dataclass(frozen=True)
class Wall:
    """A group in a group."""

    size: Size = Size()
    primed: bool = option("--primed", default=False, help="Ready.")


def test_fields_are_options_where_the_group_stood() -> None:
    app, seen = typer.Typer(), []

    @app.command()
    @opened
    def paint(
        *, wall: Annotated[str, typer.Argument()], of: Wall, coats: int = 1, quiet: bool = False
    ) -> None:
        """Paint a wall."""
        seen.append((wall, of, coats, quiet))

    run = CliRunner().invoke
    assert (
        run(app, ["north", "--width", "2.5", "--colours", "red", "--colours", "blue"]).exit_code
        == 0
    )
    assert run(app, ["south", "--coats", "3", "--primed"]).exit_code == 0
    assert seen == [
        ("north", Wall(Size(2.5, ["red", "blue"])), 1, False),
        ("south", Wall(primed=True), 3, False),
    ]
    text = run(app, ["--help"]).stdout
    assert "Paint a wall." in text
    order = [text.index(f"--{name}") for name in ("width", "colours", "primed", "coats")]
    assert order == sorted(order)
    assert "--no-primed" not in text
    assert "--size" not in text
    assert run(app, ["north", "--size", "1"]).exit_code == 2
