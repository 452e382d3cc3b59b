"""File names made from names of networks, which come from records that others wrote."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 100
"""Characters of a stem; with a suffix well below the 255 bytes of usual file systems."""

TAKEN = ("results", "index", "device", "grid")
"""Stems of files that commands write beside those of networks."""

HASHED = "network-"
"""Begin of stems with a hash; a name that begins so itself gets a hash too, so none can be met."""

# device names of Windows, in any folder and with any suffix
_DEVICES = {"con", "prn", "aux", "nul", *(f"{p}{i}" for p in ("com", "lpt") for i in range(1, 10))}


def file_stems(names: Sequence[str], *, taken: Sequence[str] = ()) -> dict[str, str]:
    """Stem of a file for each name: plain characters, never a path, distinct also without case.

    Usual names only lose their commas, and their spaces become hyphens. A name of which more is
    lost, or whose stem is long, reserved or that of another name, gets a hash of the name at its
    end.

    Parameters
    ----------
    names : sequence of str
        All names that share a folder; a repeated one counts once.
    taken : sequence of str
        Stems that other files of the folder have, besides :data:`TAKEN`.

    Returns
    -------
    dict of str to str
        Stems by name. Letters, digits and ``()+-._=`` only, beginning with none of ``-.``.
    """
    plain = {name: name.replace(",", "").replace(" ", "-") for name in names}
    used = Counter(stem.lower() for stem in plain.values())
    reserved = {stem.lower() for stem in (*TAKEN, *taken)}
    found = {}
    for name, stem in plain.items():
        safe = re.sub(r"[^A-Za-z0-9()+\-._=]", "-", stem).strip("-.")
        low = safe.lower()
        if (
            safe != stem
            or not safe
            or len(safe) > LONGEST
            or used[low] > 1
            or low in reserved
            or low.startswith(HASHED)
            or low.split(".")[0] in _DEVICES
        ):
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            kept = safe[: LONGEST - len(HASHED) - len(digest) - 1].strip("-.")
            safe = HASHED + "-".join(filter(None, (kept, digest)))
        found[name] = safe
    return found
