"""The page of commands is that of the commands."""

from pathlib import Path

from tests.reliability.cli.commands_page import commands_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "commands.md"


def test_the_page_lists_the_options_that_the_commands_have() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands_page()


def test_the_page_has_options_of_nested_commands_and_groups() -> None:
    page = commands_page()
    assert "## life endurance" in page
    row = next(line for line in page.splitlines() if line.startswith("| `--risk`"))
    assert row.endswith("Largest probability of a larger loss. |")
