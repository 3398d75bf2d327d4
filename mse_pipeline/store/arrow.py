"""pyarrow without pandas, which it imports for the first list that it is given, in a second and a half."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _WithoutPandas(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(self, name: str, *of_it: Any) -> None:
        """Refuse pandas; all else is found by others."""
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def without_pandas() -> None:
    """Have pyarrow do without pandas from now on in this process; only for a process whose code makes no tables of it.

    Nothing is changed where pandas was imported before.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])  # it looks for pandas once
    finally:
        sys.meta_path.remove(finder)
