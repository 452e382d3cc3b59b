"""A stage: a hidden folder beside the names that its files are to take.

=============  =====================================================================================
``lock``       says what the folder is and who writes there; locked while that process lives
``files``      files with their final names, still being written
``journal``    there as soon as all files are complete: from here on only forward
=============  =====================================================================================

Files take their names one by one, each at once (``link`` where nothing may be there, else
``rename``); the folder lies in the same file system, so that nothing is copied. A process may be
killed at any moment. What the next one finds in the folder is then either without a journal, and
removed, or with one, and brought to its end; a lock that is still held is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from reliability.files.own_files import checked_names, is_unchanged, sha256_of

STAGE = ".rram-reliability"
"""Stage of a directory; the stage of a file has a hash of its name besides."""

MARK = "rram-reliability stage 1"
"""First line of the lock, by which the folder is known as ours."""

JOURNAL = "journal"
_LOCK, _FILES, _NEW_JOURNAL = "lock", "files", "journal.new"
_TRIES = 100


class OutputError(ValueError):
    """An output place that cannot be used, with the remedy."""


class InTheWayError(FileExistsError):
    """Something that is not ours has the name of a file that is complete."""


class Stage:
    """Folder that one process at a time has, until it is released.

    Parameters
    ----------
    place : Path
        Folder in which the files take their names; made if it is missing.
    name : str
        Name of the stage in it.
    said : str
        What the user called the place, for messages: ``--out DIR``.

    Attributes
    ----------
    files : Path
        Folder to write into.
    went_on : bool
        Whether complete files of a killed run were put in place when this one began.

    Raises
    ------
    OutputError
        Another process has it, it is not ours, or it cannot be written.
    """

    def __init__(self, place: Path, name: str, said: str) -> None:
        self.place = place
        self.folder = place / name
        self.files = self.folder / _FILES
        self._said = said
        self._made: list[Path] = []
        self._lock: int | None = None
        self.went_on = False
        try:
            self._claim()
            self._recover()
            self.files.mkdir()
        except OSError as error:
            self.release()
            raise OutputError(
                f"{said}: {error.filename or place} cannot be written to ({error.strerror})"
            ) from error
        except BaseException:
            self.release()
            raise

    def commit(
        self, replaces: Mapping[str, str], removes: Mapping[str, str], last: Iterable[str]
    ) -> None:
        """Give every file its name.

        Parameters
        ----------
        replaces : mapping of str to str
            Names that may be taken from what is there, with the SHA-256 of that.
        removes : mapping of str to str
            Names of earlier files that go, likewise.
        last : iterable of str
            Names that are taken after all others, in this order.

        Raises
        ------
        InTheWayError
            A name is taken by something else. Nothing was done.
        OSError
            The file system refuses. Without a journal (:attr:`is_complete`) nothing was done.
        """
        names = sorted(path.name for path in self.files.iterdir())
        late = [name for name in last if name in names]
        ordered = [*(name for name in names if name not in late), *late]
        digests = {}
        for name in ordered:
            _flush(self.files / name)
            digests[name] = sha256_of(self.files / name)
        taken = [name for name in ordered if not self._may_take(name, replaces)]
        if taken:
            raise InTheWayError(errno.EEXIST, "not ours", ", ".join(taken))
        _flush(self.files)
        journal = {"files": digests, "replaces": dict(replaces), "removes": dict(removes)}
        new = self.folder / _NEW_JOURNAL
        new.write_text(json.dumps(journal), encoding="utf-8")
        _flush(new)
        os.replace(new, self.folder / JOURNAL)
        _flush(self.folder)
        self._go_on()

    @property
    def is_complete(self) -> bool:
        """Whether all files are complete and some may already have their names."""
        return os.path.lexists(self.folder / JOURNAL)

    def release(self) -> None:
        """Remove the stage, and the folders that were made for it and are empty."""
        if self._lock is not None:
            shutil.rmtree(self.files, ignore_errors=True)
            for name in (_NEW_JOURNAL, JOURNAL, _LOCK):
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()
        self.let_go()
        for made in reversed(self._made):
            with contextlib.suppress(OSError):
                made.rmdir()

    def let_go(self) -> None:
        """Leave the stage as it is, for the next process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self) -> None:
        """Lock the folder; another process may be removing it meanwhile."""
        for _ in range(_TRIES):
            try:
                self._make_folders()
                self._refuse_foreign()
                lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            except FileNotFoundError:
                continue
            if self._is_locked(lock):
                self._lock = lock
                about = f"{MARK}\n{_this_process()}\n"
                os.ftruncate(lock, 0)
                os.pwrite(lock, about.encode("utf-8", "backslashreplace"), 0)
                os.fsync(lock)
                return
            os.close(lock)
        raise OutputError(f"{self._said}: {self.folder} cannot be made; name another place")

    def _is_locked(self, lock: int) -> bool:
        """Whether this process now has the lock that has the name; refuses where another has it."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(lock, 4000, 0).decode("utf-8", "replace").splitlines()[1:]
            os.close(lock)
            raise OutputError(
                f"{self._said}: another run writes there ({' '.join(said) or 'it begins'}); wait "
                "until it has ended, or name another place"
            ) from None
        except OSError as error:
            os.close(lock)
            raise OutputError(
                f"{self._said}: files cannot be locked there ({error.strerror}), so two runs could "
                "mix their results; name a place on another file system, and copy them afterwards"
            ) from error
        try:
            return os.path.samestat(os.fstat(lock), os.stat(self.folder / _LOCK))
        except FileNotFoundError:
            return False

    def _make_folders(self) -> None:
        missing: list[Path] = []
        path = self.folder
        while not os.path.lexists(path):
            missing.append(path)
            path = path.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                self._made.append(path)
        # of the stage itself also where a killed run made it
        if self.folder not in self._made:
            self._made.append(self.folder)

    def _refuse_foreign(self) -> None:
        """Refuse a folder of that name which is not ours."""
        ours = not (self.folder.is_symlink() or self.files.is_symlink())
        if ours:
            # NFS keeps a removed file that is open under such a name
            there = {n for n in os.listdir(self.folder) if not n.startswith(".nfs")}
            if there:
                ours = there <= {_LOCK, _FILES, JOURNAL, _NEW_JOURNAL} and _LOCK in there
            if ours and there:
                with (self.folder / _LOCK).open("rb") as file:
                    head = file.read(len(MARK)).decode("utf-8", "replace")
                # a process that was killed at once leaves an empty lock, alone
                ours = head == MARK or (not head and there == {_LOCK})
        if not ours:
            self._made = [path for path in self._made if path != self.folder]
            raise OutputError(
                f"{self._said}: {self.folder} is in the way and none of ours; move it away"
            )

    def _recover(self) -> None:
        """Bring what a killed run left to its end."""
        if self.is_complete:
            try:
                self._go_on()
            except InTheWayError as error:
                self.let_go()
                raise OutputError(
                    f"{self._said}: complete results of a run that was killed wait in {self.files} "
                    f"for their names, but {error.filename} is in the way and not theirs; move it "
                    "away, and start this command again"
                ) from error
            except OSError:
                # nothing of the complete results is removed
                self.let_go()
                raise
            self.went_on = True
        shutil.rmtree(self.files, ignore_errors=True)
        for name in (JOURNAL, _NEW_JOURNAL):
            (self.folder / name).unlink(missing_ok=True)

    def _go_on(self) -> None:
        """Do what the journal says; again after a kill, which changes nothing twice."""
        path = self.folder / JOURNAL
        try:
            journal = json.loads(path.read_text(encoding="utf-8"))
            digests, replaces, removes = (
                checked_names(journal[key]) for key in ("files", "replaces", "removes")
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise OSError(errno.EINVAL, "damaged; move its folder away", str(path)) from error
        for name in digests:
            source = self.files / name
            if not os.path.lexists(source):
                continue  # it has its name
            target = self.place / name
            if not self._may_take(name, replaces):
                raise InTheWayError(errno.EEXIST, "not ours", str(target))
            if name in replaces:
                os.replace(source, target)
            else:
                take_free_name(source, target)
        for name, digest in removes.items():
            if is_unchanged(self.place / name, digest):
                (self.place / name).unlink()
        _flush(self.place)

    def _may_take(self, name: str, replaces: Mapping[str, str]) -> bool:
        target = self.place / name
        if not os.path.lexists(target):
            return True
        if os.path.samestat(os.lstat(target), os.lstat(self.files / name)):
            return True  # killed between the two halves of a move
        return name in replaces and is_unchanged(target, replaces[name])


def take_free_name(source: Path, target: Path) -> None:
    """Move a file to a name that nothing has, not even since a moment ago.

    Raises
    ------
    InTheWayError
        Something has the name.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        if not os.path.samefile(source, target):
            raise InTheWayError(errno.EEXIST, "not ours", str(target)) from None
    except OSError:
        # no hard links on this file system: the moment between the two lines remains
        if os.path.lexists(target):
            raise InTheWayError(errno.EEXIST, "not ours", str(target)) from None
        os.rename(source, target)
        return
    source.unlink()


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # some file systems do not know this of a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _this_process() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"process {os.getpid()} on {socket.gethostname()}: {command}".replace("\n", " ")
