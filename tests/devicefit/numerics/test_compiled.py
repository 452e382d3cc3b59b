"""Stored machine code against changes of its sources, of versions, and of the folder it lies in."""

import ast
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from devicefit.numerics import compiled

EditIsSeen = Callable[..., tuple[float, float]]
Import = Callable[[], ModuleType]

LOGISTIC = """
from devicefit.distributions.threshold import LOGISTIC, _ln_cdf
print(_ln_cdf(LOGISTIC, -1.0, 0.0, 0.0))
"""
TOY = """
from devicefit.numerics.compiled import njit

@njit
def twice(x):
    return 2 * x
"""


def test_tails_at_a_threshold_follow_the_law_that_another_module_holds(
    edit_is_seen: EditIsSeen,
) -> None:
    """A wrong number once stayed as it was until the module that asked for it was touched."""
    before, after = edit_is_seen(
        LOGISTIC,
        file="devicefit/distributions/kernels.py",
        old="    return z - math.log1p(math.exp(z))\n",
        new="    return z - math.log1p(math.exp(z)) - 1000.0\n",
        compiled={"threshold", "kernels"},
    )
    assert after - before == pytest.approx(-1000.0, abs=1e-8)


@pytest.mark.parametrize("package", compiled.PACKAGES)
def test_imports_are_found_as_python_finds_them(package: str) -> None:
    """Against the syntax tree: all imports that run with the module, and no others."""
    root = Path(__file__).parents[3]
    files = {}
    for name in compiled.PACKAGES:
        for path in (root / name).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    def imported(body: list[ast.stmt]) -> Iterator[str]:
        for statement in body:
            if isinstance(statement, ast.ImportFrom):
                assert statement.level == 0
                origin = str(statement.module)
                names = [f"{origin}.{alias.name}" for alias in statement.names]
                yield from (name if name in files else origin for name in names)
            elif isinstance(statement, ast.Import):
                for alias in statement.names:
                    parts = alias.name.split(".")
                    yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))
            elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
                yield from imported(statement.orelse)
            elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for field in ("body", "orelse", "finalbody"):
                    yield from imported(getattr(statement, field, []))

    checked = 0
    for name, path in files.items():
        if name.partition(".")[0] == package:
            wanted = {
                str(files[n]) for n in imported(ast.parse(path.read_text()).body) if n in files
            }
            assert compiled._read(str(path))[1] == wanted, name
            checked += len(wanted)
    assert checked > 100


def test_sources_are_those_of_this_project_and_all_that_they_import() -> None:
    root = Path(__file__).parents[3]
    found = {
        Path(file).relative_to(root).as_posix()
        for file in compiled.sources(str(root / "devicefit" / "likelihood" / "interval_kernel.py"))
    }
    likelihood = {f"devicefit/likelihood/{name}_kernel.py" for name in ("interval", "mixture")}
    assert (
        likelihood | {"devicefit/distributions/kernels.py", "devicefit/numerics/vector_math.py"}
        <= found
    )
    assert "devicefit/life/fit.py" not in found
    assert not any(file.startswith(("bnn/", "reliability/")) for file in found)


@pytest.mark.parametrize("version", range(4))
def test_other_versions_do_not_share_code(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled._digest.__wrapped__(compiled.__file__)
    versions = list(compiled._VERSIONS)
    versions[version] += "+other"
    monkeypatch.setattr(compiled, "_VERSIONS", tuple(versions))
    assert compiled._digest.__wrapped__(compiled.__file__) != before


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Runs a module with one compiled function anew, as if this process had just started."""
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    monkeypatch.setattr(compiled, "_STARTED", float("inf"))
    monkeypatch.delenv(compiled.ANNOUNCED)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def start() -> ModuleType:
        for kept in (compiled._read, compiled._sources, compiled._digest, compiled._base):
            kept.cache_clear()
        spec = importlib.util.spec_from_file_location("toy", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return start


def folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "__pycache__").glob("toy.compiled.*"))


def test_first_use_says_once_that_it_compiles(
    toy: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = toy().twice
    assert capsys.readouterr() == ("", "")
    assert (twice(3), twice(3.5)) == (6, 7.0)
    assert capsys.readouterr() == ("", compiled.COMPILING + "\n")
    del os.environ[compiled.ANNOUNCED]
    stored = toy().twice
    assert (stored(3), stored(3.5)) == (6, 7.0)
    assert capsys.readouterr() == ("", "")
    assert len(folders(tmp_path)) == 1


def test_a_damaged_file_is_compiled_again(toy: Import, tmp_path: Path) -> None:
    toy().twice(3)
    (folder,) = folders(tmp_path)
    for damaged in [*folder.glob("*.nbc"), *folder.glob("*.nbi")]:
        damaged.write_bytes(damaged.read_bytes()[:40])
        assert toy().twice(3) == 6
        again = toy().twice
        again(3)
        assert sum(again.stats.cache_hits.values()) == 1


def test_only_the_latest_versions_are_kept(toy: Import, tmp_path: Path) -> None:
    for factor in range(2, 4 + compiled.KEPT):
        (tmp_path / "toy.py").write_text(TOY.replace("2 * x", f"{factor} * x"))
        assert toy().twice(1) == factor
        (latest,) = set(folders(tmp_path)) - {f for f in folders(tmp_path) if f.stat().st_mtime < 9}
        os.utime(latest, (factor, factor))
    assert sorted(f.stat().st_mtime for f in folders(tmp_path)) == [*range(4, 4 + compiled.KEPT)]


def test_sources_that_changed_while_the_process_runs_are_not_stored(
    toy: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text that is read for the digest may be newer than what Python has imported."""
    twice = toy().twice
    # a copy that keeps the time of the last change is a change as well
    os.utime(tmp_path / "toy.py", (1e9, 1e9))
    monkeypatch.setattr(compiled, "_STARTED", (tmp_path / "toy.py").stat().st_ctime - 1)
    assert twice(3) == 6
    assert folders(tmp_path) == []
    monkeypatch.setattr(compiled, "_STARTED", float("inf"))
    assert twice(3.5) == 7.0
    assert len(folders(tmp_path)) == 1


def test_code_goes_to_the_user_where_the_package_cannot_be_written(
    toy: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "__pycache__").write_text("a file, where a folder is needed")
    monkeypatch.setattr(compiled.AppDirs, "user_cache_dir", str(tmp_path / "of-user"))
    assert toy().twice(3) == 6
    assert len(list(tmp_path.glob("of-user/*/toy.compiled.*/*.nbc"))) == 1
    (tmp_path / "of-user").rename(tmp_path / "away")
    (tmp_path / "of-user").write_text("nor here")
    assert toy().twice(3) == 6


def test_the_folder_that_the_user_names_comes_first(
    toy: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled.config, "CACHE_DIR", str(tmp_path / "named"))
    assert toy().twice(3) == 6
    assert len(list(tmp_path.glob("named/*/toy.compiled.*/*.nbc"))) == 1
    assert folders(tmp_path) == []


def test_options_are_those_of_numba() -> None:
    @compiled.njit(error_model="numpy")
    def over(x: float) -> float:
        return 1.0 / x

    assert over.targetoptions["nogil"]
    assert over(0.0) == float("inf")
    assert not compiled.njit(nogil=False)(over.py_func).targetoptions["nogil"]
