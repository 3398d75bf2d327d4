r"""LaTeX: a complete table a dataset, which needs the package booktabs alone and compiles with each engine.

Published rows stand in a group of their own and cite their sources, whose BibTeX entries are comments of the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from mse_pipeline.report.published import PublishedRow
from mse_pipeline.report.sentences import coverage_rows, marks, zeros_sentence, zeros_text
from mse_pipeline.report.table import COLLAPSED, PARTIAL, Cell, Column, Report, ResultTable, labels

_SETTING = 24
"""Most characters of a setting, of those in which the runs differ."""
WIDE = 3
"""A table of more metrics spans both columns of a page, in small type."""
_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "²": r"$^2$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}"},
    PARTIAL: r"\dag{}",
    COLLAPSED: r"\ddag{}",
    "\N{REPLACEMENT CHARACTER}": "?",
}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
"""Combining accents and the commands that every font of LaTeX has for them."""
_OTHER = r"\providecommand{\msechars}[2]{\ifdefined\Umathchar#1\else#2\fi}"
"""Letters that pdfLaTeX has no font for are written by XeLaTeX and LuaLaTeX; pdfLaTeX writes their code points."""


def to_latex(report: Report) -> str:
    r"""A file to ``\input``: its tables, and below them as comments the BibTeX entries of what they cite."""
    tables = [_table(table) for table in report.tables if table.rows]
    head = [r"% Needs \usepackage{booktabs}."]
    if any(r"\msechars" in table for table in tables):
        head += [f"{_OTHER} % letters that only XeLaTeX and LuaLaTeX write"]
    cited = {row.key: row for table in report.tables for row in table.comparable}
    entries = ["% Entries for your .bib file:", *map(_entry, cited.values())] if cited else []
    notes = [f"% {' '.join(note.split())}" for note in (*report.notes, *report.warnings)]
    return "\n".join([*head, *notes, "", *tables, *entries]) + "\n"


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it stands, on one line.

    Examples:
        >>> print(escape("a_b & 50 % {x}"))
        a\_b \& 50 \% \{x\}
        >>> print(escape("情感 ok"))
        \msechars{情感}{U+60C5 U+611F} ok
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    parts = [
        "".join(_letter(char) or "" for char in letters) if known else _other("".join(letters))
        for known, letters in groupby(text, lambda char: _letter(char) is not None)
    ]
    # Two of these would become another sign.
    return re.sub(r"([-'`,])(?=\1)|[?!](?=`)", r"\g<0>{}", "".join(parts))


def _letter(char: str) -> str | None:
    """How LaTeX writes a character with the fonts that it always has; None for one that these lack."""
    if char in _SPECIAL or " " <= char <= "~":
        return _SPECIAL.get(char, char)
    parts = unicodedata.normalize("NFD", char)
    if len(parts) != 2 or parts[1] not in _ACCENTS or not parts[0].isascii() or not parts[0].isalpha():
        return None
    base = rf"\{parts[0]}" if parts[0] in "ij" else parts[0]  # these lose their dots
    return rf"\{_ACCENTS[parts[1]]}{{{base}}}"


def _other(letters: str) -> str:
    codes = " ".join(f"U+{ord(char):04X}" for char in letters)
    return f"\\msechars{{{letters}}}{{{codes}}}"


def _table(table: ResultTable) -> str:
    columns = table.columns
    wide = "*" if len(columns) > WIDE else ""
    small = [r"\scriptsize", r"\setlength{\tabcolsep}{1.5pt}"] if wide else []
    zeros = table.has_zeros
    heads = ["Run", "Inputs", "$n$", *(_head(column.title, wide) for column in columns)]
    heads += [_head("exact 0", wide)] if zeros else []
    lines = [_line(heads), r"\midrule"]
    for row in table.rows:
        more = [zeros_text(row) or "--"] if zeros else []
        label = [escape(row.mark + row.title), escape(row.describe(_SETTING)), str(len(row.run.seeds))]
        lines.append(_row(label, columns, row.cells, more))
    if table.comparable:
        lines += [r"\midrule", rf"\multicolumn{{{len(heads)}}}{{l}}{{\emph{{Published}}}} \\"]
    for other in table.comparable:
        cells = {key: Cell(mean, other.sd.get(key)) for key, mean in other.mean.items()}
        label = [escape(other.system), rf"\cite{{{key_of(other)}}}", str(other.seeds or "")]
        note = f" % {' '.join(other.note.split())}" if other.note else ""
        lines.append(_row(label, columns, cells, ["--"] * zeros) + note)
    # Long names and descriptions are broken: neither has a natural width.
    shares = (0.22, 0.27) if not wide else (0.13, 0.15) if len(heads) < 9 else (0.08, 0.12)
    widths = "".join(rf"p{{{share}\linewidth}}" for share in shares)
    begin = rf"\begin{{tabular}}{{@{{}}{widths}{'r' * (len(heads) - 2)}@{{}}}}"
    body = [begin, r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"]
    caption = [rf"\caption{{{_caption(table)}}}", rf"\label{{tab:mse-{re.sub('[^A-Za-z0-9]+', '-', table.dataset)}}}"]
    caption.append(r"\smallskip")
    read = [f"% {what}: {parts} {runs}".rstrip() for what, parts, runs in coverage_rows(table)]
    return "\n".join(
        [*read, rf"\begin{{table{wide}}}", r"\centering", *caption, *small, *body, rf"\end{{table{wide}}}", ""]
    )


def _head(title: str, wide: str) -> str:
    """A heading, of two lines where many stand beside each other, as in Has0 above Acc2."""
    first, _, rest = title.partition(" ")
    many = wide and rest.strip("↑↓ ")
    return rf"\shortstack[r]{{{escape(first)}\\{escape(rest)}}}" if many else escape(title)


def _row(label: Sequence[str], columns: Sequence[Column], cells: Mapping[str, Cell], more: Sequence[str]) -> str:
    left = [rf"\raggedright {text}" for text in label[:2]]
    small = len(columns) > WIDE
    return _line([*left, *label[2:], *(_cell(column, cells.get(column.key), small) for column in columns), *more])


def _cell(column: Column, cell: Cell | None, small: bool) -> str:
    if cell is None:
        return "--"
    mean = column.number(cell.mean)
    mean = rf"\textbf{{{mean}}}" if cell.best else mean
    if cell.sd is None:
        return mean
    sd = column.number(cell.sd)
    return rf"{mean}$_{{\pm {sd}}}$" if small else rf"{mean} $\pm$ {sd}"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _caption(table: ResultTable) -> str:
    errors = any(column.error for column in table.columns)
    names = labels(table.rows, _SETTING)
    sentences = [
        f"Results on {table.dataset}, {table.split} split: mean ± sample standard deviation over n seeds, in percent"
        f"{', errors in the unit of the labels' if errors else ''}.",
        "Bold: the best of our runs." if len(table.rows) > 1 else "",
        zeros_sentence(table, names),
        *marks(table, names),
    ]
    return escape(" ".join(filter(None, sentences)))


def key_of(row: PublishedRow) -> str:
    """The BibTeX key of a row's source."""
    return f"mse-{row.key}"


def _entry(row: PublishedRow) -> str:
    fields = {"title": escape(row.citation), "url": row.url or ""}
    inner = ", ".join(f"{name} = {{{value}}}" for name, value in fields.items() if value)
    return f"% @misc{{{key_of(row)}, {inner}}}"
