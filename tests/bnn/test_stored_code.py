"""Stored machine code that is older than its sources is removed, all other files are kept."""

import os
from pathlib import Path
from types import ModuleType

from bnn.stored_code import forget_stale


def test_only_older_code_of_the_module_is_removed(tmp_path: Path) -> None:
    source = ModuleType("source")
    source.__file__ = str(tmp_path / "source.py")
    stored = tmp_path / "__pycache__"
    stored.mkdir()
    ages = {
        tmp_path / "source.py": 100,
        stored / "kernels.f-1.py311.nbi": 99,
        stored / "kernels.f-1.py311.1.nbc": 50,
        stored / "kernels.g-9.py311.nbi": 101,
        stored / "kernels.cpython-311.pyc": 1,
        stored / "other.f-1.py311.nbi": 1,
    }
    for path, age in ages.items():
        path.write_text("")
        os.utime(path, (age, age))
    forget_stale(str(tmp_path / "kernels.py"), source)
    left = {path.name for path in stored.iterdir()}
    assert left == {"kernels.g-9.py311.nbi", "kernels.cpython-311.pyc", "other.f-1.py311.nbi"}
    forget_stale(str(tmp_path / "never_compiled.py"), source)
