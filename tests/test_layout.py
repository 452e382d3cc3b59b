"""Sub-packages hold at most a dozen modules, and imports between them go one way."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("devicefit", "bnn", "reliability")
MOST_MODULES = 12
MOST_LINES = 400
MAY_IMPORT = {
    "devicefit": {"devicefit"},
    "bnn": {"bnn"},
    "reliability": {"devicefit", "bnn", "reliability"},
}
DEPTH = {"devicefit": 8, "bnn": 8, "reliability": 8}
"""Levels of sub-packages."""


@functools.cache
def modules(package: str) -> dict[str, Path]:
    """Modules of a package by name, without what only holds others."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem not in ("__init__", "__main__"):
            found[name] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Names of modules, or of what is in them, that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@functools.cache
def arrows(package: str) -> dict[str, frozenset[str]]:
    """Sub-packages that each sub-package of a package imports."""
    known = modules(package)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        own = name.rpartition(".")[0]
        found.setdefault(own, set())
        for target in imported(path):
            module = target if target in known else target.rpartition(".")[0]
            if module in known and module.rpartition(".")[0] != own:
                found[own].add(module.rpartition(".")[0])
    return {name: frozenset(of) for name, of in found.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_one_above_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.partition(".")[0] for name in imported(path)}
        assert tops & set(PACKAGES) <= MAY_IMPORT[package], path


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stand_in_sub_packages_of_at_most_a_dozen(package: str) -> None:
    held: dict[str, int] = {}
    for name in modules(package):
        folder = name.rpartition(".")[0]
        held[folder] = held.get(folder, 0) + 1
    assert package not in held, "modules outside of sub-packages"
    assert {k: v for k, v in held.items() if v > MOST_MODULES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_sub_packages_import_one_another_without_a_cycle(package: str) -> None:
    below = arrows(package)
    depth: dict[str, int] = {}

    def level(name: str, way: tuple[str, ...]) -> int:
        assert name not in way, f"cycle: {' > '.join((*way, name))}"
        if name not in depth:
            depth[name] = 1 + max((level(b, (*way, name)) for b in below[name]), default=0)
        return depth[name]

    for name in below:
        level(name, ())
    assert max(depth.values()) <= DEPTH[package]


def test_a_cycle_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    below = {"a": frozenset({"b"}), "b": frozenset({"a"})}
    monkeypatch.setitem(globals(), "arrows", lambda _: below)
    with pytest.raises(AssertionError, match="cycle: a > b > a"):
        test_sub_packages_import_one_another_without_a_cycle("bnn")


def test_the_page_on_architecture_names_places_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:devicefit|bnn|reliability|docs|tests)/[\w./]+)`", page))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    every = {name.split(".", 1)[1] for package in PACKAGES for name in arrows(package)}
    rows = set(re.findall(r"`([a-z_/]+)`", "".join(re.findall(r"^\| `.*?\|", page, re.MULTILINE))))
    missing = {name.replace(".", "/") for name in every} - rows
    # the engines stand in one row, whose first name says where they are
    assert {name for name in missing if not name.startswith("engines/")} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_can_be_held_in_the_head(package: str) -> None:
    lines = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in modules(package).items()
    }
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}
