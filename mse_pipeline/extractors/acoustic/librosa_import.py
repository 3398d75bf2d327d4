"""librosa with a place for its compiled functions, so that they are compiled once a machine and not once a process."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from mse_pipeline.posix import user


def import_librosa() -> Any:
    """The library.

    Importing it compiles some twenty functions (numba), in 17 s of CPU time. Numba keeps them beside librosa's own
    files, or in the user's cache folder, from where the next process has them in two seconds together with all else
    that is imported. Where neither can be written, as in a container without a home, numba does not merely compile
    again: it fails. A folder for temporary files then serves as well, for as long as the machine stays up.
    """
    if "NUMBA_CACHE_DIR" not in os.environ and not _can_keep():
        os.environ["NUMBA_CACHE_DIR"] = str(_fallback())
    import librosa

    return librosa


def _can_keep() -> bool:
    """Whether numba finds a place by itself: beside the source files, or in the user's cache folder."""
    spec = importlib.util.find_spec("librosa")
    beside = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "util"]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return any(_writable(folder) for folder in (*beside, Path(home)))


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which may itself still be missing."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _fallback() -> Path:
    """A folder of this user's alone: what lies in it is run."""
    owner = user()
    folder = Path(tempfile.gettempdir()) / f"mse-numba-{'user' if owner is None else owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if owner is not None and (status.st_uid != owner or status.st_mode & 0o022):
        return Path(tempfile.mkdtemp(prefix="mse-numba-"))
    return folder
