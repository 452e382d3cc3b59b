"""Output places: what is refused before work, what is replaced, what a kill leaves behind.

Each of the first five tests was a way to lose a user's files: the text after its name says how.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from reliability.files import interruption, output
from reliability.files.output import (
    KeptElsewhereError,
    OutputError,
    check_directory,
    check_file,
    staged_directory,
    staged_file,
)
from reliability.files.own_files import LISTING
from reliability.files.whole_directory import check_whole, reading

RESULTS = '{"format": "rram-reliability results 1"}'


class Interrupted(BaseException):
    """Stands for a kill signal: not an Exception."""


def job(
    out: Path,
    files: dict[str, str] | None = None,
    *,
    force: bool = False,
    names: tuple[str, ...] = (),
    meanwhile: Callable[[], object] = lambda: None,
    at_end: Callable[[], object] = lambda: None,
) -> None:
    """A whole command: check, work, write."""
    check_directory(out, force=force)
    with staged_directory(out, force=force, names=names) as stage:
        meanwhile()
        for name, text in (files or {"results.json": RESULTS}).items():
            (stage / name).write_text(text)
        at_end()


def file_job(
    path: Path,
    files: dict[str, str],
    *,
    force: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """The same for a file and its twin."""
    check_file(path, force=force, suffix=path.suffix)
    with staged_file(path, force=force) as stage:
        for name, text in files.items():
            stage.with_name(name).write_text(text)
        meanwhile()


def interrupt() -> None:
    """Stands for a signal that arrives while a job is at work."""
    raise Interrupted


def below(path: Path) -> dict[str, str]:
    """Texts of all files below a folder, without the listing; folders end in a slash."""
    return {
        str(p.relative_to(path)) + ("/" if p.is_dir() else ""): "" if p.is_dir() else p.read_text()
        for p in sorted(path.rglob("*"))
        if p.name != LISTING
    }


# --- five ways to lose files ------------------------------------------------------------------


def test_second_run_into_one_place_is_refused_before_its_work(tmp_path: Path) -> None:
    """The second deleted the finished results of the first."""
    out = tmp_path / "same"
    with staged_directory(out, force=False) as stage:
        for force in (False, True):
            with pytest.raises(
                OutputError, match=f"another run writes there .process {os.getpid()}"
            ):
                check_directory(out, force=force)
            with pytest.raises(OutputError, match="wait until it has ended"):
                job(out, force=force)
        (stage / "results.json").write_text("A")
    with pytest.raises(OutputError, match="holds earlier results; replace them with --force"):
        job(out)
    assert below(out) == {"results.json": "A"}


def test_check_of_one_run_and_whole_run_of_another(tmp_path: Path) -> None:
    """Neither had --force, and both were checked while nothing was there."""
    out = tmp_path / "same"
    check_directory(out, force=False)
    job(out, {"results.json": "A"})
    with (
        pytest.raises(OutputError, match="holds earlier results"),
        staged_directory(out, force=False),
    ):
        raise AssertionError("work has begun")
    assert below(out) == {"results.json": "A"}


def test_file_that_the_user_makes_meanwhile_stays(tmp_path: Path) -> None:
    """It was deleted."""
    out = tmp_path / "mine"
    job(out, meanwhile=lambda: (out / "notes.txt").write_text("precious"))
    assert below(out) == {"notes.txt": "precious", "results.json": RESULTS}


def test_force_replaces_our_files_and_no_other(tmp_path: Path) -> None:
    """Everything in the folder was deleted, thesis.tex and .git too."""
    out = tmp_path / "proj"
    job(out, {"results.json": "A", "old.nc": "A", "edited.nc": "A", "moved.nc": "A"})
    (out / "thesis.tex").write_text("x")
    (out / ".git").mkdir()
    (out / "edited.nc").write_text("by the user")
    (out / "moved.nc").unlink()
    (out / "moved.nc").symlink_to(out / "thesis.tex")
    job(out, {"results.json": "B"}, force=True)
    assert below(out) == {
        ".git/": "", "thesis.tex": "x", "edited.nc": "by the user", "moved.nc": "x",
        "results.json": "B",
    }  # fmt: skip


KILLED_EVERYWHERE = '''
import os, sys
from pathlib import Path
from reliability.files import output
from reliability.files.whole_directory import check_whole

STEPS = ("mkdir", "open", "close", "replace", "rename", "link", "unlink", "rmdir", "fsync",
         "ftruncate", "pwrite")
# the disk keeps what a killed process has written
os.fsync = lambda handle: None
REAL = {name: getattr(os, name) for name in STEPS}

def killed_after(steps):
    """Kill this process before the step after so many."""
    left = [steps]
    def wrap(real):
        def step(*args, **kwargs):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return real(*args, **kwargs)
        return step
    for name, real in REAL.items():
        setattr(os, name, wrap(real))

def state(out):
    files = {p.name: p.read_text() for p in out.glob("*.*") if not p.name.startswith(".")}
    try:
        check_whole(out)
    except ValueError:
        return "unfinished"
    return "".join(sorted(set(files.values()))) + " " + " ".join(sorted(files))

def write(out):
    with output.staged_directory(out, force=True) as stage:
        for name in ("a.nc", "b.nc", "results.json"):
            (stage / name).write_text("new")

def one(out):
    with output.staged_file(out, force=True) as stage:
        stage.write_text("new")
        stage.with_suffix(".json").write_text("new")

root, seen = Path(sys.argv[1]), set()
for steps in range(10_000):
    out = root / str(steps)
    with output.staged_directory(out, force=False) as stage:
        for name in ("a.nc", "c.nc", "results.json"):
            (stage / name).write_text("old")
    (out / "mine.txt").write_text("mine")
    net = root / f"{steps}-pair" / "n.safetensors"
    net.parent.mkdir()
    net.write_text("old"); net.with_suffix(".json").write_text("old")
    child = os.fork()
    if not child:
        killed_after(steps)
        write(out); one(net)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen.add(state(out))
    if state(out) != "unfinished":
        assert "mine" in state(out)
    # the next start clears up or goes on: old or new, whole
    try:
        output.check_directory(out, force=False)
    except output.OutputError as error:
        assert "holds earlier results" in str(error), error
    found = state(out)
    assert found in ("minenew a.nc b.nc mine.txt results.json",
                     "mineold a.nc c.nc mine.txt results.json"), (steps, found)
    seen.add(found)
    output.check_file(net, force=True, suffix=".safetensors")
    assert net.read_text() == net.with_suffix(".json").read_text(), steps
    left = {p.name for folder in (out, net.parent) for p in folder.glob(".*")}
    assert left <= {output.LISTING}, (steps, left)
    # and another run works
    write(out)
    assert state(out) == "minenew a.nc b.nc mine.txt results.json"
    if ended == 0:
        break
print(steps, sorted(seen))
'''


def test_kill_at_every_step_leaves_old_or_new_results(tmp_path: Path) -> None:
    """A kill between the two renames left nothing under the name."""
    found = subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, tmp_path], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    steps, seen = found.stdout.split(" ", 1)
    assert int(steps) > 60
    assert seen.strip() == str(
        [
            "minenew a.nc b.nc mine.txt results.json",
            "mineold a.nc c.nc mine.txt results.json",
            "unfinished",
        ]
    )


@pytest.mark.parametrize("force", [False, True])
def test_file_that_appears_meanwhile_is_replaced_with_force_only(
    tmp_path: Path, force: bool
) -> None:
    """It was overwritten in either case."""
    path = tmp_path / "c.nc"
    text = r"c.nc appeared while the job ran.*\n.*are complete and kept in .*c-1.nc"
    with nullcontext() if force else pytest.raises(KeptElsewhereError, match=text):
        file_job(
            path, {"c.nc": "mine"}, force=force, meanwhile=lambda: path.write_text("other run's")
        )
    assert below(tmp_path) == (
        {"c.nc": "mine"} if force else {"c.nc": "other run's", "c-1.nc": "mine"}
    )
    assert interruption.asked() is False


# --- places -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dot", "link", "link to nothing", "mount", "deep", "odd name"])
def test_places_that_used_to_fail_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A place that cannot be renamed: the current folder, a link, a mount point."""
    real = tmp_path / ("a b \n ü '$(touch x)" if kind == "odd name" else "real")
    out = real
    if kind == "dot":
        real.mkdir()
        monkeypatch.chdir(real)
        out = Path(".")
    elif kind == "link":
        real.mkdir()
    elif kind == "deep":
        out = real = real / "deeper" / "still"
    elif kind == "mount":
        # the root of a mounted file system, as a Docker volume with ext4
        (real / "lost+found").mkdir(parents=True)

        def busy(function: Callable[..., None]) -> Callable[..., None]:
            def call(*paths: os.PathLike[str], **more: int) -> None:
                paths = tuple(Path(path) for path in paths)
                if real in paths or any(real not in path.parents for path in paths):
                    raise OSError(errno.EXDEV, "Invalid cross-device link")
                function(*paths, **more)

            return call

        for name in ("rename", "replace", "link"):
            monkeypatch.setattr(os, name, busy(getattr(os, name)))
    if kind.startswith("link"):
        out = tmp_path / "link"
        out.symlink_to(real)
    job(out, {"results.json": "A", "a.nc": "A"})
    job(out, {"results.json": "B"}, force=True)
    expected = {"results.json": "B"} | ({"lost+found/": ""} if kind == "mount" else {})
    assert below(real) == expected
    assert out.is_symlink() == kind.startswith("link")


def test_read_only_parent_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    _read_only(monkeypatch, tmp_path)
    job(out)
    assert below(out) == {"results.json": RESULTS}


def test_read_only_place_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _read_only(monkeypatch, tmp_path)
    for refused in (
        lambda: check_directory(tmp_path / "out", force=False),
        lambda: check_file(tmp_path / "a.nc", force=False, suffix=".nc"),
    ):
        with pytest.raises(OutputError, match=r"cannot be written to .Read-only file system"):
            refused()
    assert below(tmp_path) == {}


def _read_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nothing be made in a folder; root may write everywhere, so modes do not do it."""
    real = os.mkdir

    def mkdir(path: os.PathLike[str], *more: int) -> None:
        if Path(path).parent == folder:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        real(path, *more)

    monkeypatch.setattr(os, "mkdir", mkdir)


def test_output_inside_another_of_our_outputs(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    job(outer, meanwhile=lambda: job(inner, {"device.json": "inner"}))
    assert below(outer) == {"inner/": "", "inner/device.json": "inner", "results.json": RESULTS}
    job(outer, {"grid.nc": "B"}, force=True)
    assert below(outer) == {"inner/": "", "inner/device.json": "inner", "grid.nc": "B"}


def test_directory_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for force in (False, True):
        with pytest.raises(OutputError, match=r"holds other files \(thesis.tex\)"):
            check_directory(tmp_path, force=force)
    # a marker by its name alone is not ours
    (tmp_path / "results.json").write_text('{"mine": 1}')
    (tmp_path / "grid.nc").write_text("no netCDF")
    with pytest.raises(OutputError, match="holds other files"):
        check_directory(tmp_path, force=True)
    assert set(below(tmp_path)) == {"grid.nc", "results.json", "thesis.tex"}


def test_names_of_somebody_else_are_refused_before_work(tmp_path: Path) -> None:
    job(tmp_path / "out", {"results.json": "A", "index.html": "A", "a.nc": "A"})
    (tmp_path / "out" / "index.html").write_text("annotated")
    (tmp_path / "out" / "new.nc").mkdir()
    with pytest.raises(OutputError, match="changed since: index.html, new.nc; move them away"):
        job(tmp_path / "out", force=True, names=("results.json", "index.html", "new.nc", "b.nc"))
    assert below(tmp_path / "out") == {
        "results.json": "A", "index.html": "annotated", "a.nc": "A", "new.nc/": "",
    }  # fmt: skip


def test_name_taken_meanwhile_keeps_all_results_together(tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = r"results.json appeared while .*\n.*kept in .*kept-1"
    with pytest.raises(KeptElsewhereError, match=text):
        job(
            out,
            {"a.nc": "new", "results.json": "new"},
            meanwhile=lambda: (out / "results.json").write_text("user's"),
        )
    assert below(out) == {
        "kept-1/": "", "kept-1/a.nc": "new", "kept-1/results.json": "new",
        "results.json": "user's",
    }  # fmt: skip


def test_results_of_an_earlier_version_are_known_by_their_content(tmp_path: Path) -> None:
    """Without a listing nothing is removed, and only our formats are replaced."""
    out = tmp_path / "report"
    out.mkdir()
    ours = {
        "results.json": RESULTS,
        "index.html": "<html>",
        "standard.json": '{"format": "rram-reliability folded network"}',
        "standard.safetensors": "tensors",
        "device.json": '{"format": "rram-reliability device study 3"}',
    }
    for name, text in {**ours, "data.json": '{"mine": 1}', "log.nc": "mine"}.items():
        (out / name).write_text(text)
    new = dict.fromkeys(("results.json", "index.html", "standard.safetensors"), "new")
    with pytest.raises(OutputError, match="holds earlier results; replace them with --force"):
        job(out, new)
    for foreign in ("data.json", "log.nc"):
        with pytest.raises(OutputError, match=f"not ours or were changed since: {foreign};"):
            job(out, new, force=True, names=("results.json", foreign))
    job(out, new, force=True, names=tuple(new))
    assert below(out) == {
        **new, "standard.json": ours["standard.json"], "device.json": ours["device.json"],
        "data.json": '{"mine": 1}', "log.nc": "mine",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "x"}', '{"files": 1}'])
def test_damaged_listing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LISTING).write_text(text)
    with pytest.raises(OutputError, match="is damaged.*remove it"):
        check_directory(tmp_path, force=True)


@pytest.mark.parametrize("name", ["../victim", "/tmp/victim", "..", ""])
def test_listing_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    out = tmp_path / "out"
    job(out)
    text = (out / LISTING).read_text()
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
    (out / LISTING).write_text(text.replace('"files": {', f'"files": {{"{name}": "{digest}",'))
    with pytest.raises(OutputError, match="is damaged"):
        job(out, force=True)
    assert victim.exists()


# --- stages -----------------------------------------------------------------------------------


def test_stage_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out" / output.STAGE
    folder.mkdir(parents=True)
    (folder / "lock").write_text("my own lock")
    (folder / "files").mkdir()
    with pytest.raises(OutputError, match="is in the way and none of ours; move it away"):
        check_directory(tmp_path / "out", force=True)
    (folder / "lock").rename(folder / "notes.txt")
    with pytest.raises(OutputError, match="is in the way and none of ours; move it away"):
        check_directory(tmp_path / "out", force=True)
    assert (folder / "notes.txt").read_text() == "my own lock"


def test_stage_made_of_links_is_left_alone(tmp_path: Path) -> None:
    """Its journal would move files from elsewhere."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    journal = '{"files": {"thesis.tex": "0"}, "replaces": {}, "removes": {}}'
    folder = _killed(tmp_path / "out", journal=journal)
    (folder / "files" / "a.nc").unlink()
    (folder / "files").rmdir()
    (folder / "files").symlink_to(tmp_path / "home")
    with pytest.raises(OutputError, match="is in the way and none of ours"):
        check_directory(tmp_path / "out", force=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    folder = _killed(tmp_path / "out", journal=None)
    check_directory(tmp_path / "out", force=False)
    assert not folder.exists()


def test_killed_run_that_was_complete_is_brought_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _killed(out, journal='{"files": {"a.nc": "0"}, "replaces": {}, "removes": {}}')
    (out / "a.nc").write_text("user's")
    with pytest.raises(ValueError, match="some of its files are new and some are not"):
        check_whole(out)
    with pytest.raises(OutputError, match=r"wait in .* but .*a.nc is in the way and not theirs"):
        check_directory(out, force=True)
    assert (out / output.STAGE / "files" / "a.nc").read_text() == "half"
    (out / "a.nc").unlink()
    with pytest.raises(OutputError, match="holds other files"):
        check_directory(out, force=False)  # no marker among them
    assert below(out) == {"a.nc": "half"}


@pytest.mark.parametrize(
    "journal",
    [
        "{",
        '{"files": {"../victim": "0"}, "replaces": {}, "removes": {}}',
        '{"files": {}, "replaces": {}, "removes": {"../victim": "0"}}',
    ],
)
def test_damaged_journal_does_nothing(tmp_path: Path, journal: str) -> None:
    folder = _killed(tmp_path / "out", journal=journal)
    (tmp_path / "victim").write_text("")
    text = "journal cannot be written to .damaged; move its folder"
    with pytest.raises(OutputError, match=text):
        check_directory(tmp_path / "out", force=True)
    assert (folder / "files" / "a.nc").read_text() == "half"
    assert (folder / "journal").exists()
    assert (tmp_path / "victim").exists()


def _killed(out: Path, *, journal: str | None) -> Path:
    """What a killed run leaves: its stage with one file, and a journal if it was complete."""
    folder = out / output.STAGE
    (folder / "files").mkdir(parents=True)
    (folder / "lock").write_text("rram-reliability stage 1\nprocess 1 on nowhere\n")
    (folder / "files" / "a.nc").write_text("half")
    if journal is not None:
        (folder / "journal").write_text(journal)
    return folder


@pytest.mark.parametrize("error", [RuntimeError("x"), Interrupted(), KeyboardInterrupt()])
def test_interrupted_work_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    for staged in (
        lambda: staged_directory(tmp_path / "deep" / "out", force=False),
        lambda: staged_file(tmp_path / "deep" / "a.nc", force=False),
    ):
        with pytest.raises(type(error)), staged():
            raise error
        assert below(tmp_path) == {}


def test_interrupted_replacement_keeps_the_earlier_results(tmp_path: Path) -> None:
    job(tmp_path / "out", {"results.json": "earlier"})
    with pytest.raises(Interrupted):
        job(tmp_path / "out", {"results.json": "half"}, force=True, at_end=interrupt)
    assert below(tmp_path) == {"out/": "", "out/results.json": "earlier"}


def test_swallowed_interruption_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "asked", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "out")
    assert below(tmp_path) == {}


@pytest.mark.parametrize("full", ["data", "journal"])
def test_full_disk_at_the_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    out = tmp_path / "out"
    real = os.fsync

    def fsync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}") if sys.platform == "linux" else ""
        if name.endswith("a.nc" if full == "data" else "journal.new"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeptElsewhereError, match=r"No space left on device\n.*kept in .*kept-1"):
        job(out, {"a.nc": "new", "results.json": "new"})
    monkeypatch.undo()
    assert below(out) == {"kept-1/": "", "kept-1/a.nc": "new", "kept-1/results.json": "new"}
    # what was kept is a directory of ours
    with pytest.raises(OutputError, match="holds earlier results"):
        check_directory(out / "kept-1", force=False)


def test_move_that_fails_half_way_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "out", os.link

    def link(source: Path, target: Path) -> None:
        if target.name == "b.nc":
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    def rename(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        patch.setattr(os, "rename", rename)
        with pytest.raises(KeptElsewhereError, match=r"the others are kept in .*files"):
            job(out, {"a.nc": "new", "b.nc": "new", "results.json": "new"})
    assert set(below(out)) >= {"a.nc", f"{output.STAGE}/files/b.nc"}
    with pytest.raises(OutputError, match=r"killed were put in place just now"):
        check_directory(out, force=False)
    assert below(out) == {"a.nc": "new", "b.nc": "new", "results.json": "new"}


def test_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*paths: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    job(tmp_path / "out")
    assert below(tmp_path / "out") == {"results.json": RESULTS}
    path = tmp_path / "c.nc"
    with pytest.raises(KeptElsewhereError):
        file_job(path, {"c.nc": "mine"}, meanwhile=lambda: path.write_text("other"))
    assert (path.read_text(), (tmp_path / "c-1.nc").read_text()) == ("other", "mine")


def test_directory_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    job(tmp_path, {"device.json": "A", "a.nc": "A"})
    with pytest.raises(ValueError, match="was written anew while it was read"), reading(tmp_path):
        job(tmp_path, {"device.json": "B", "a.nc": "B"}, force=True)


def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        job(tmp_path / name, {"results.json": "A", "b.nc": "B"})
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two


# --- files ------------------------------------------------------------------------------------


def test_interrupted_file_keeps_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    file_job(path, {"a.json": "one"})
    with pytest.raises(Interrupted):
        file_job(path, {"a.json": "half"}, force=True, meanwhile=interrupt)
    assert below(tmp_path) == {"a.json": "one"}


def test_second_run_into_one_file_is_refused(tmp_path: Path) -> None:
    with staged_file(tmp_path / "a.json", force=False) as stage:
        stage.write_text("A")
        with pytest.raises(OutputError, match="another run writes there"):
            check_file(tmp_path / "a.json", force=True, suffix=".json")
        check_file(tmp_path / "b.json", force=False, suffix=".json")
    assert below(tmp_path) == {"a.json": "A"}


def test_network_is_a_pair_of_files(tmp_path: Path) -> None:
    """A user's NAME.json was overwritten without a word."""
    path = tmp_path / "n.safetensors"
    (tmp_path / "n.json").write_text("user's")
    with pytest.raises(OutputError, match=r"n.json exists; replace it with --force"):
        check_file(path, force=False, suffix=".safetensors")
    (tmp_path / "n.json").unlink()
    with pytest.raises(KeptElsewhereError, match=r"n-1.safetensors"):
        file_job(
            path,
            {"n.safetensors": "tensors", "n.json": "twin"},
            meanwhile=lambda: (tmp_path / "n.json").write_text("user's"),
        )
    assert below(tmp_path) == {
        "n.json": "user's", "n-1.json": "twin", "n-1.safetensors": "tensors",
    }  # fmt: skip


def test_file_rules(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(OutputError, match="must end in .json"):
        check_file(tmp_path / "a.csv", force=True, suffix=".json")
    with pytest.raises(OutputError, match="--csv .*exists; replace it with --force"):
        check_file(tmp_path / "a.csv", force=False, suffix=".csv", option="--csv")
    with pytest.raises(OutputError, match="is a file; name a directory"):
        check_directory(tmp_path / "a.csv", force=True)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_directory(tmp_path / "a.csv" / "deeper", force=True)
    with pytest.raises(OutputError, match="cannot be written to .File name too long"):
        check_file(tmp_path / f"{'x' * 300}.csv", force=False, suffix=".csv")
    with pytest.raises(OutputError, match="no text in UTF-8"):
        check_file(tmp_path / "\udcff.csv", force=False, suffix=".csv")
    (tmp_path / "link.csv").symlink_to("a.csv")
    with pytest.raises(OutputError, match="link.csv is a link or no file"):
        check_file(tmp_path / "link.csv", force=True, suffix=".csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(OutputError, match="is a directory; name a file"):
        check_file(tmp_path / "d.csv", force=True, suffix=".csv")
    # the longest name that there can be
    with staged_file(tmp_path / f"{'x' * 251}.csv", force=False) as stage:
        stage.write_text("x")
    assert (tmp_path / f"{'x' * 251}.csv").read_text() == "x"
