"""Machine code of this project: compiled at first use, stored, and never older than its sources.

Stored code belongs to the text of the module that holds it and of everything that this module
imports from the project, and to the versions that compile: numba stores what a function calls
together with it, but looks at the age of the function's own file alone. Imports are read from the
sources, so nobody keeps a list. The folder of stored code is named after a digest of all this. An
edit leads to another folder, so old code is never found, never deleted under a process that uses
it, and found again when the edit is taken back.

This file stands in ``devicefit`` and in ``bnn``, which know nothing of each other; a test compares
the two.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.extending import is_jitted
from numba.misc.appdirs import AppDirs

PACKAGES = ("bnn", "devicefit", "reliability")
"""What imports are followed into."""

KEPT = 4
"""Versions of a module whose code is kept, so that going back to another branch is quick."""

ANNOUNCED = "RRAM_RELIABILITY_COMPILING"
"""Environment variable that is set once a process has said that it compiles."""

COMPILING = (
    "compiling machine code: the first uses after an installation take up to three minutes longer, "
    "all together; later ones find it stored"
)

_STARTED = time.time()
_VERSIONS = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
_CHECKING = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)*", re.MULTILINE)
_COMMENT = re.compile(r"#.*")
_IMPORT = re.compile(
    r"^(?:from[ \t]+([\w.]+)[ \t]+import[ \t]*(\([^)]*\)|.*)|import[ \t]+(.*))", re.MULTILINE
)


def njit(function: Any = None, **options: Any) -> Any:
    """Decorate a function that numba compiles, without the lock of the interpreter, and stores.

    Parameters
    ----------
    function : function, optional
        Left out where there are options: ``@njit`` and ``@njit(error_model="numpy")`` both work.
    **options
        Options of ``numba.njit``; ``nogil`` is true unless given.
    """
    if function is None:
        return functools.partial(njit, **options)
    compiled = numba.njit(**{"nogil": True, **options})(function)
    if is_jitted(compiled):  # numba returns the function itself where compiling is turned off
        compiled._cache = _Store(function)
    return compiled


def sources(file: str) -> tuple[str, ...]:
    """Files that the code of a module depends on: its own and all that it imports, directly or not.

    Only imports at the start of a line count: what a function imports when it runs, or what is
    imported for types alone, cannot come into machine code.
    """
    return _sources(os.path.abspath(file))


def digest(file: str) -> str:
    """Name of what the code of a module was compiled from: 20 hexadecimal digits."""
    return _digest(os.path.abspath(file))


@functools.cache
def _sources(file: str) -> tuple[str, ...]:
    found, left = {file}, [file]
    while left:
        new = _read(left.pop())[1] - found
        found |= new
        left += new
    return tuple(sorted(found))


@functools.cache
def _digest(file: str) -> str:
    texts = [f"{_name(source)} {_read(source)[0]}" for source in _sources(file)]
    return hashlib.sha256("\n".join([*_VERSIONS, *sorted(texts)]).encode()).hexdigest()[:20]


def _name(path: str) -> str:
    """Name of a file or folder that does not depend on where the project stands."""
    for folder in _folders().values():
        if path == folder or path.startswith(folder + os.sep):
            return Path(path).relative_to(os.path.dirname(folder)).as_posix()
    return os.path.basename(path)


@functools.cache
def _read(file: str) -> tuple[str, frozenset[str]]:
    """Digest of a file, and the files of this project that it imports."""
    content = Path(file).read_bytes()
    text = _COMMENT.sub("", content.decode("utf-8", "replace").replace("\r\n", "\n"))
    found: set[str | None] = set()
    for origin, names, modules in _IMPORT.findall(_CHECKING.sub("", text)):
        if origin.partition(".")[0] in PACKAGES:
            for name in names.strip("()\\ ").split(","):
                if name.strip():
                    # a module of the package, or something that the package itself has
                    submodule = f"{origin}.{name.split()[0]}"
                    found.add(_file_of(submodule) or _file_of(origin))
        for module in modules.split(","):
            parts = module.split()[0].split(".") if module.strip() else []
            if parts and parts[0] in PACKAGES:
                found |= {_file_of(".".join(parts[: n + 1])) for n in range(len(parts))}
    return hashlib.sha256(content).hexdigest(), frozenset(f for f in found if f is not None)


@functools.cache
def _file_of(module: str) -> str | None:
    """File of a module of this project; None if there is no such module."""
    package, _, rest = module.partition(".")
    folder = _folders().get(package)
    for part in rest.split(".")[:-1]:
        folder = os.path.join(folder, part) if folder and part in _names(folder) else None
    if folder is None:
        return None
    last = rest.split(".")[-1]
    if f"{last}.py" in _names(folder):
        return os.path.join(folder, f"{last}.py")
    inside = os.path.join(folder, last) if last else folder
    if (not last or last in _names(folder)) and "__init__.py" in _names(inside):
        return os.path.join(inside, "__init__.py")
    return None


@functools.cache
def _names(folder: str) -> frozenset[str]:
    """Names in a folder, exactly as they are written; none if it is no folder."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


@functools.cache
def _folders() -> dict[str, str]:
    """Folders of the packages, which are not imported for that."""
    specs = {package: importlib.util.find_spec(package) for package in PACKAGES}
    return {
        package: os.path.abspath(next(iter(spec.submodule_search_locations)))
        for package, spec in specs.items()
        if spec is not None and spec.submodule_search_locations
    }


@functools.cache
def _base(folder: str) -> Path | None:
    """Where code of the modules in a folder is stored: the first place that can be written to."""
    package = _name(folder).replace("/", ".")
    places = [Path(importlib.util.cache_from_source(os.path.join(folder, "a.py"))).parent]
    places.append(Path(AppDirs("rram-reliability", appauthor=False).user_cache_dir) / package)
    if config.CACHE_DIR:
        places.insert(0, Path(config.CACHE_DIR) / package)
    for place in places:
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
            return place
    return None


class _Folder(_CacheLocator):
    """Where numba stores code of the functions of a module."""

    def __init__(self, file: str, line: int) -> None:
        self._py_file, self._line = file, line
        base = _base(os.path.dirname(file)) if os.path.exists(file) else None
        self.known = base is not None
        self._digest = digest(file) if self.known else ""
        self._stem = f"{Path(file).stem}.compiled"
        self._path = (base or Path()) / f"{self._stem}.{self._digest}"

    def usable(self) -> bool:
        """Whether the sources are still those that this process runs.

        A process reads the text of a module when it imports it, and the digest may be taken later.
        """
        if not self.known:
            return False
        stats = [os.stat(file) for file in sources(self._py_file)]
        # the time of the last change can be set, and copying often does; not so that of the inode,
        # which Windows does not have
        times = [s.st_mtime if os.name == "nt" else s.st_ctime for s in stats]
        return max(times) <= _STARTED

    def get_cache_path(self) -> str:
        return str(self._path)

    def get_source_stamp(self) -> str:
        return self._digest

    def get_disambiguator(self) -> str:
        return str(self._line)

    def ensure_cache_path(self) -> None:
        if self._path.is_dir():
            return
        self._path.mkdir(parents=True, exist_ok=True)
        found = list(self._path.parent.glob(f"{self._stem}.*"))
        for old in sorted(found, key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


class _Stored(CompileResultCacheImpl):
    def __init__(self, function: Any) -> None:
        code = function.__code__
        file = os.path.abspath(code.co_filename)
        self._lineno = code.co_firstlineno
        self._locator = _Folder(file, self._lineno)
        name = f"{Path(file).stem}.{function.__qualname__}"
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))


class _Store(FunctionCache):
    """Stored code of a function."""

    _impl_class = _Stored

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Stored code of a signature; None, and a word that it will be compiled, if there is none.

        A damaged file, as a machine that lost power leaves it, counts as none.
        """
        found = None
        if self._impl.locator.usable():
            try:
                found = super().load_overload(sig, target_context)
            except Exception:
                with contextlib.suppress(OSError):
                    self.flush()
        if found is None:
            announce()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store code; a full disk costs the time of compiling again, not the result."""
        if self._impl.locator.usable():
            with contextlib.suppress(OSError):
                super().save_overload(sig, data)


def announce() -> None:
    """Say once that there is something to wait for; processes that this one starts say nothing."""
    if ANNOUNCED not in os.environ:
        os.environ[ANNOUNCED] = "said"
        if sys.stderr is not None:
            print(COMPILING, file=sys.stderr, flush=True)
