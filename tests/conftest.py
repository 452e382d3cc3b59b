"""Settings of all tests, and a copy of the project whose sources a test may change."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from devicefit.numerics.compiled import ANNOUNCED, COMPILING, PACKAGES, digest

# A test's time says how busy the machine is, and the same examples everywhere mean that what passes
# here passes elsewhere. HYPOTHESIS_PROFILE=explore looks for new examples.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# What a command prints does not depend on what is compiled already.
os.environ[ANNOUNCED] = "said"


@dataclass(frozen=True)
class ProjectCopy:
    """Sources and stored machine code of the project in a folder of its own.

    Attributes
    ----------
    folder : Path
        Holds the packages.
    """

    folder: Path

    def run(self, script: str) -> tuple[float, str]:
        """Number that a script prints when it runs anew, and what it says on standard error."""
        known = {k: v for k, v in os.environ.items() if k not in (ANNOUNCED, "NUMBA_CACHE_DIR")}
        # Python tells the age of its own bytecode by the time that an edit here keeps
        changes = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, cwd=self.folder, env=known | changes, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return float(done.stdout), done.stderr

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file, which keeps the time of its last change."""
        path = self.folder / file
        before, text = path.stat(), path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def stored(self) -> dict[Path, int]:
        """Files of stored machine code and the times of their last changes."""
        return {path: path.stat().st_mtime_ns for path in self.folder.rglob("*.nb[ic]")}

    def compiled_since(self, before: dict[Path, int]) -> set[str]:
        """Modules with stored code that is not as it was; none of it may have been removed."""
        after = self.stored()
        assert before.keys() <= after.keys()
        new = (path for path, time in after.items() if before.get(path) != time)
        return {path.parent.name.partition(".")[0] for path in new}


@pytest.fixture
def project_copy(tmp_path: Path) -> ProjectCopy:
    """The project, with what is compiled already, so that only what a test changes is compiled."""
    here = Path(__file__).parents[1]
    for package in PACKAGES:
        # another process of tests may just be storing code: its files in the making vanish
        ignored = shutil.ignore_patterns("*.pyc*", "*.tmp.*", "*.safetensors")
        shutil.copytree(here / package, tmp_path / package, ignore=ignored)
    # code of earlier versions would be removed in the end, and a test asks that nothing is
    for folder in tmp_path.rglob("*.compiled.*"):
        module = folder.parent.parent / f"{folder.name.partition('.')[0]}.py"
        source = here / module.relative_to(tmp_path)
        if not source.exists() or not folder.name.endswith(digest(str(source))):
            shutil.rmtree(folder)
    return ProjectCopy(tmp_path)


@pytest.fixture
def edit_is_seen(project_copy: ProjectCopy) -> Callable[..., tuple[float, float]]:
    """Checks what an edit of a compiled helper does at the next starts.

    The check gives the numbers of a script before and after the edit, with what else was compiled.
    """

    def check(
        script: str, *, file: str, old: str, new: str, compiled: set[str]
    ) -> tuple[float, float]:
        before, _ = project_copy.run(script)
        stored = project_copy.stored()
        project_copy.edit(file, old, new)
        after, said = project_copy.run(script)
        assert said == COMPILING + "\n"
        assert project_copy.compiled_since(stored) == compiled
        # the code of the first text is still there
        project_copy.edit(file, new, old)
        assert project_copy.run(script) == (before, "")
        return before, after

    return check
