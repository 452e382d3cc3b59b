from pathlib import Path

import pytest

from reliability.output import (
    OutputError,
    check_directory,
    check_file,
    staged_directory,
    staged_file,
)


class Interrupted(BaseException):
    """Stands for a kill signal: not an Exception."""


def _write_then(directory: Path, error: BaseException | None) -> None:
    with staged_directory(directory) as stage:
        (stage / "results.json").write_text("new")
        if error:
            raise error


def test_directory_appears_whole(tmp_path: Path) -> None:
    _write_then(tmp_path / "deep" / "out", None)
    assert (tmp_path / "deep" / "out" / "results.json").read_text() == "new"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError("x"), Interrupted(), KeyboardInterrupt()])
def test_interrupted_directory_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        _write_then(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_replacement_keeps_the_earlier_results(tmp_path: Path) -> None:
    _write_then(tmp_path / "out", None)
    (tmp_path / "out" / "results.json").write_text("earlier")
    with pytest.raises(Interrupted):
        _write_then(tmp_path / "out", Interrupted())
    assert (tmp_path / "out" / "results.json").read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_replacement_drops_the_earlier_files(tmp_path: Path) -> None:
    _write_then(tmp_path / "out", None)
    (tmp_path / "out" / "old.txt").write_text("old")
    _write_then(tmp_path / "out", None)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["results.json"]


def test_interrupted_file_keeps_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with staged_file(path) as stage:
        stage.write_text("one")

    def fail() -> None:
        with staged_file(path) as stage:
            stage.write_text("half")
            raise Interrupted

    with pytest.raises(Interrupted):
        fail()
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_directory_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="holds other files"):
        check_directory(tmp_path, force=True)


def test_earlier_results_need_force(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(OutputError, match="replace them with --force"):
        check_directory(tmp_path, force=False)
    check_directory(tmp_path, force=True)


def test_file_rules(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(OutputError, match="must end in .json"):
        check_file(tmp_path / "a.csv", force=True, suffix=".json")
    with pytest.raises(OutputError, match="exists; replace it with --force"):
        check_file(tmp_path / "a.csv", force=False, suffix=".csv")
    with pytest.raises(OutputError, match="is a file; name a directory"):
        check_directory(tmp_path / "a.csv", force=True)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_directory(tmp_path / "a.csv" / "deeper", force=True)
