"""Machine code that numba stores with a module, and code of other modules in it."""

import contextlib
from pathlib import Path
from types import ModuleType


def forget_stale(module: str, *sources: ModuleType) -> None:
    """Remove stored machine code of a module that is older than what it was compiled from.

    Parameters
    ----------
    module : str
        File of the module.
    *sources : module
        Modules whose compiled functions it calls: their code is stored with it, but numba looks at
        the age of the module's own file only.
    """
    newest = max(Path(str(source.__file__)).stat().st_mtime for source in sources)
    for file in (Path(module).parent / "__pycache__").glob(f"{Path(module).stem}.*.nb[ic]"):
        # another process may be doing the same
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < newest:
                file.unlink()
