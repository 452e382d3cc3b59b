"""Output that appears whole, and in which only our own files are ever replaced.

What is promised, also where a run is killed at any moment:

- A place that cannot be used is refused before work starts. It is tried out, not guessed: the stage
  (:mod:`reliability.files.stage`) is made there, in the directory itself or beside the file, so
  that a mount point, ``.``, a link to a folder or a parent that is read-only do no harm.
- One run at a time writes to a place. It has a lock, from before its work to its end.
- A file of a directory is replaced only with ``--force``, and only where our listing
  (:mod:`reliability.files.own_files`) names it and it is as we wrote it. Our files that the new
  run does not write go; anything else stays. Names that something else has are refused before work
  starts.
- A file that appears meanwhile stays too. The results are then kept under another name.
- All files are complete before the first takes its name; markers such as ``results.json`` take
  theirs last. A run that is killed in between is brought to its end by the next one that writes
  there, and :mod:`reliability.files.whole_directory` refuses to read it until then.
- Where complete results cannot take their names they are kept, and the message says where.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reliability.files import interruption
from reliability.files.own_files import (
    LISTING,
    MARKERS,
    ListingError,
    is_plain_file,
    is_unchanged,
    listed,
    listing_text,
    recognised,
    sha256_of,
)
from reliability.files.stage import STAGE, Stage, take_free_name
from reliability.files.stage import OutputError as OutputError

TWIN = {".safetensors": ".json"}
"""A network is a pair of files."""

finished: list[Path] = []
"""What this process has put in place, or kept elsewhere.

An interruption that comes afterwards must not say that nothing was written.
"""


class KeptElsewhereError(Exception):
    """Complete results that could not take their names; says where they are."""


@dataclass(frozen=True)
class _Target:
    """Where files take their names.

    Parameters
    ----------
    place : Path
        Folder, links followed.
    stage : str
        Name of the stage in it.
    said : str
        What the user called it: ``--out DIR``.
    out : Path
        What takes shape: the folder or the file, as the user named it.
    name : str or None
        Name of the file, None for a directory.
    force : bool
        Whether earlier output may be replaced.
    """

    place: Path
    stage: str
    said: str
    out: Path
    name: str | None
    force: bool


def check_directory(out: Path, *, force: bool, names: Sequence[str] = ()) -> None:
    """Refuse an output directory before any work is done.

    What an earlier run left there when it was killed is removed, or brought to its end.

    Parameters
    ----------
    out : Path
        Directory.
    force : bool
        Whether earlier results may be replaced.
    names : sequence of str, optional
        Files that will be written, as far as they are known.

    Raises
    ------
    OutputError
        It holds earlier results and `force` is not given, or other files alone, or others of the
        same names; another run writes there; it is no directory or cannot be written.
    """
    with _directory(out, force, names):
        pass


def check_file(path: Path, *, force: bool, suffix: str, option: str = "--out") -> None:
    """Refuse an output file before any work is done; of a network both files.

    Raises
    ------
    OutputError
        Wrong suffix, it exists and `force` is not given, another run writes it, or it cannot be
        written.
    """
    if path.suffix != suffix:
        raise OutputError(f"{option} {path}: the name must end in {suffix}")
    with _file(path, force, option):
        pass


@contextmanager
def staged_directory(
    out: Path, *, force: bool = False, names: Sequence[str] = ()
) -> Iterator[Path]:
    """Folder to write into; its files move to `out` when the block ends without error.

    Parameters
    ----------
    out, force, names
        As of :func:`check_directory`, which is done again, now with the lock.

    Raises
    ------
    OutputError
        As of :func:`check_directory`, before the block.
    KeptElsewhereError
        The files are complete and could not take their names.
    """
    with _directory(out, force, names) as (stage, target, ours):
        yield stage.files
        _finish(stage, target, ours)


@contextmanager
def staged_file(path: Path, *, force: bool = False, option: str = "--out") -> Iterator[Path]:
    """File to write; it takes the name `path` when the block ends without error.

    Its twin, if the block writes one beside it, comes along.

    Parameters
    ----------
    path, force, option
        As of :func:`check_file`, which is done again, now with the lock.

    Raises
    ------
    OutputError
        As of :func:`check_file`, before the block.
    KeptElsewhereError
        The file is complete and could not take its name.
    """
    with _file(path, force, option) as (stage, target):
        new = stage.files / str(target.name)
        yield new
        if not new.exists():
            raise FileNotFoundError(errno.ENOENT, "was not written", str(path))
        _finish(stage, target, {})


@contextmanager
def _directory(
    out: Path, force: bool, names: Sequence[str]
) -> Iterator[tuple[Stage, _Target, dict[str, str]]]:
    """The stage of a directory, and our files in it with their SHA-256."""
    said = f"--out {out}"
    place = _resolved(out, said)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{said} is a file; name a directory")
    target = _Target(place, STAGE, said, out, None, force)
    with _staged(target, names) as stage:
        try:
            known = _known(place, said, force=force, went_on=stage.went_on)
            taken = [
                name
                for name in names
                if os.path.lexists(place / name)
                and not is_unchanged(place / name, known.get(name, ""))
            ]
        except (OSError, ListingError) as error:
            raise OutputError(f"{said}: {error}") from error
        if taken:
            raise OutputError(
                f"{said} holds files of names that will be written, and they are not ours or were "
                f"changed since: {', '.join(taken)}; move them away, or name another directory"
            )
        yield stage, target, known


def _known(place: Path, said: str, *, force: bool, went_on: bool) -> dict[str, str]:
    """Our files in a directory with their SHA-256; refuses one that may not be written to."""
    listing = listed(place)
    known = recognised(place) if listing is None else listing
    here = sorted(set(os.listdir(place)) - {STAGE, LISTING})
    earlier = [name for name in here if name in known]
    if earlier and not force:
        came = "; those of a run that was killed were put in place just now" if went_on else ""
        raise OutputError(f"{said} holds earlier results{came}; replace them with --force")
    # hidden files and what a new file system holds do not make a folder somebody's
    others = [n for n in here if n not in known and n[0] != "." and n != "lost+found"]
    if listing is None and not earlier and others:
        raise OutputError(
            f"{said} holds other files ({', '.join(others[:3])}); name a new or empty directory"
        )
    return known


@contextmanager
def _file(path: Path, force: bool, option: str) -> Iterator[tuple[Stage, _Target]]:
    """The stage of a file."""
    said = f"{option} {path}"
    # a link to the file itself is refused below: its twin would lie elsewhere
    place, name = _resolved(path.parent, said), path.name
    _resolved(path, said)
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).lower().encode()).hexdigest()
    target = _Target(place, f"{STAGE}-{digest[:16]}", said, path, name, force)
    names = _names_of(target)
    with _staged(target, names) as stage:
        if path.is_dir():
            raise OutputError(f"{said} is a directory; name a file")
        taken = [own for own in names if os.path.lexists(place / own)]
        for own in taken:
            if not is_plain_file(place / own):
                raise OutputError(f"{said}: {place / own} is a link or no file; name another")
        if taken and not force:
            what = said if name in taken else f"{said}: {path.with_name(taken[0])}"
            came = ", of a run that was killed and is complete now" if stage.went_on else ""
            raise OutputError(f"{what} exists{came}; replace it with --force")
        yield stage, target


def _names_of(target: _Target) -> list[str]:
    """Names of a file and its twin."""
    own = Path(str(target.name))
    twin = TWIN.get(own.suffix)
    return [own.name] if twin is None else [own.with_suffix(twin).name, own.name]


def _resolved(out: Path, said: str) -> Path:
    try:
        str(out).encode()  # reports and records are text
        return Path(os.path.realpath(out))
    except UnicodeEncodeError:
        raise OutputError(f"{said!r}: the name is no text in UTF-8; name another") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{said!r}: not a path ({error})") from error


@contextmanager
def _staged(target: _Target, names: Sequence[str]) -> Iterator[Stage]:
    """The stage of a target, with room for files of these names; nothing is left behind."""
    stage: Stage | None = None
    try:
        with interruption.held_back():
            stage = Stage(target.place, target.stage, target.said)
            _try_names(stage, names)
        yield stage
    finally:
        if stage is not None:
            with interruption.held_back():
                stage.release()


def _try_names(stage: Stage, names: Sequence[str]) -> None:
    """Refuse names that the file system does not take, such as long ones."""
    for name in names:
        try:
            (stage.files / name).touch()
            (stage.files / name).unlink()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{stage.place / name}: cannot be written to ({reason}); name another place"
            ) from error


def _finish(stage: Stage, target: _Target, ours: dict[str, str]) -> None:
    """Put complete files in place, or keep them elsewhere."""
    if interruption.asked():
        # something swallowed it, and may have handed on half of its work
        raise KeyboardInterrupt
    with interruption.held_back():
        try:
            _put_in_place(stage, target, ours)
            finished.append(target.out)
        except (OSError, ValueError) as error:
            why = f"{target.said}: {_reason(error)}"
            if stage.is_complete:
                stage.let_go()
                finished.append(stage.files)
                raise KeptElsewhereError(
                    f"{why}\nthe results are complete, but not all could take their names; the "
                    f"others are kept in {stage.files}. Remove the cause and give the same command "
                    "without --force: it puts them in place and stops"
                ) from error
            kept = _keep(stage, target)
            finished.append(kept)
            last = "; take them from there before another run begins" * (kept == stage.files)
            raise KeptElsewhereError(
                f"{why}\nthe results are complete and kept in {kept}{last}"
            ) from error


def _put_in_place(stage: Stage, target: _Target, ours: dict[str, str]) -> None:
    names = sorted(path.name for path in stage.files.iterdir())
    place = target.place
    replaces: dict[str, str] = {}
    removes: dict[str, str] = {}
    if target.name is not None:
        if target.force:
            for name in names:
                if is_plain_file(place / name):
                    replaces[name] = sha256_of(place / name)
        stage.commit(replaces, removes, [target.name])
        return
    digests = {name: sha256_of(stage.files / name) for name in names}
    if target.force:
        replaces = {name: ours[name] for name in names if name in ours}
    if target.force and listed(place) is not None:
        # without a listing a file of our kind may be one that the user put there
        removes = {name: ours[name] for name in sorted(set(ours) - set(names))}
    # the listing comes last: until then the old one says which files are ours
    if is_plain_file(place / LISTING):
        replaces[LISTING] = sha256_of(place / LISTING)
    (stage.files / LISTING).write_text(listing_text(digests), encoding="utf-8")
    stage.commit(replaces, removes, [*MARKERS, LISTING])


def _reason(error: Exception) -> str:
    if isinstance(error, FileExistsError):
        return f"{error.filename} appeared while the job ran, or was changed, and was left alone"
    return str(error)


def _keep(stage: Stage, target: _Target) -> Path:
    """Move complete files to a free name beside the one that they were to have; says which."""
    try:
        for number in range(1, 1000):
            if target.name is None:
                kept = target.place / f"kept-{number}"
                with contextlib.suppress(FileExistsError):
                    kept.mkdir()
                    os.replace(stage.files, kept)
                    return kept
            else:
                own = Path(target.name)
                pairs = {n: f"{own.stem}-{number}{Path(n).suffix}" for n in _names_of(target)}
                if not any(os.path.lexists(target.place / name) for name in pairs.values()):
                    for name, free in pairs.items():
                        if os.path.lexists(stage.files / name):
                            take_free_name(stage.files / name, target.place / free)
                    return target.place / pairs[target.name]
    except OSError:
        pass
    stage.let_go()
    return stage.files
