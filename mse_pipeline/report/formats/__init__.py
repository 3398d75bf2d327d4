"""Formats of a report, one a file: terminal, Markdown, JSON, CSV, LaTeX and HTML; `write` takes a file's ending."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mse_pipeline.errors import UsageError
from mse_pipeline.report.formats.latex import to_latex
from mse_pipeline.report.formats.markdown import escape, to_markdown
from mse_pipeline.report.formats.plain import to_json
from mse_pipeline.report.formats.sheet import to_csv
from mse_pipeline.report.table import Report
from mse_pipeline.store.storage import write_text

if TYPE_CHECKING:
    from mse_pipeline.report.formats.page import Pages
    from mse_pipeline.store.cache import Cache

__all__ = ["ENDINGS", "HTML", "check_file", "check_folder", "escape", "require_page", "write"]


def _json(report: Report) -> str:
    return json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


TEXTS: Mapping[str, Callable[[Report], str]] = {
    ".md": to_markdown,
    ".markdown": to_markdown,
    ".json": _json,
    ".csv": to_csv,
    ".tex": to_latex,
}
"""How a report is written, by the file's ending."""
HTML = frozenset({".html", ".htm"})
"""Endings of the page, which reads more than the tables."""
ENDINGS = (*TEXTS, *sorted(HTML))


def check_file(path: Path) -> None:
    """Refuse a file that could not be written, before anything is read.

    Raises:
        UsageError: Its ending names no format, its folder does not exist, or a folder has its name.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"{path}: the ending of a file says its format, and {path.suffix or 'no ending'} is none; take one of "
            f"{', '.join(ENDINGS)}."
        )
    check_folder(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the path of a file in it, as {path / f'report{path.suffix}'}.")


def check_folder(path: Path) -> None:
    """Refuse a path whose folder does not exist: a slip of the pen makes no folders.

    Raises:
        UsageError: There is no such folder.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; make it first (mkdir -p {path.parent}).")


def require_page() -> None:
    """Refuse an HTML report where what it needs is not installed, before anything is read.

    Raises:
        UsageError: Plotly is not installed.
    """
    from mse_pipeline.report.charts import require_plotly

    require_plotly()


def write(report: Report, path: Path, cache: Cache | None = None, pages: Pages | None = None) -> None:
    """Write a report to a file, in the format of its ending.

    Args:
        report: From `build`.
        path: The file.
        cache: For HTML, where texts of clips and the state of features are; None for nowhere.
        pages: For HTML, where clips have a page of their own; None for nowhere.

    Raises:
        UsageError: As `check_file`, or Plotly is not installed and the page needs it.
    """
    check_file(path)
    if path.suffix.lower() in HTML:
        from mse_pipeline.report.formats.page import to_html

        write_text(path, to_html(report, cache, pages))
        return
    write_text(path, TEXTS[path.suffix.lower()](report))
