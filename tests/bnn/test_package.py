import ast
from pathlib import Path

import bnn


def test_every_exported_name_exists() -> None:
    assert [name for name in bnn.__all__ if not hasattr(bnn, name)] == []


def test_neither_sister_package_is_imported() -> None:
    imported = set()
    for path in Path(bnn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert {"numpy", "torch", "bnn"} <= imported
    assert not imported & {"devicefit", "reliability"}
