"""Page of all commands and options: ``python -m tests.reliability.cli.commands_page``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from reliability.cli.main import app

HEAD = (
    "# Commands and options\n\nMade by `python -m tests.reliability.cli.commands_page "
    "> docs/commands.md`; a test compares. What the commands are for: [README](../README.md).\n"
)


def commands_page() -> str:
    """Markdown: a table of options for each command."""
    return "\n".join([HEAD, *_sections(typer.main.get_command(app), "")])


def _sections(command: Any, name: str) -> Iterator[str]:
    nested = getattr(command, "commands", None)
    if nested:
        for own in sorted(nested):
            yield from _sections(nested[own], f"{name} {own}".strip())
        return
    yield f"## {name}\n\n{(command.help or '').splitlines()[0]}\n"
    if command.params:
        rows = "\n".join(_row(parameter) for parameter in command.params)
        yield f"| option | default | meaning |\n|---|---|---|\n{rows}\n"


def _row(parameter: Any) -> str:
    named = [f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts)]
    options = ", ".join(named) if parameter.opts[0].startswith("-") else parameter.name.upper()
    shown = (
        "required" if parameter.required else "" if parameter.default is None else parameter.default
    )
    cells = (options, str(shown), getattr(parameter, "help", None) or "")
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


if __name__ == "__main__":
    print(commands_page(), end="")
