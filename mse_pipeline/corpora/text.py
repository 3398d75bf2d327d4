"""Bytes of label files -> text, with the damage of past conversions repaired."""

from __future__ import annotations

import codecs
import re

from mse_pipeline.errors import UsageError


def _cp1252(code: int) -> str:
    # Five of the 32 places are empty in cp1252; the replacement sign keeps the damage visible.
    return bytes([code]).decode("cp1252", errors="replace")


_REPAIR = {code: _cp1252(code) for code in range(0x80, 0xA0)} | {0xA0: " "}
_C1 = re.compile("[\x80-\x9f]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


def repair(text: str) -> str:
    r"""Map C1 controls through cp1252 and no-break spaces to spaces.

    Text that was once read as Latin-1 instead of cp1252 holds C1 controls (U+0080 to U+009F) in the place of quotes
    and dashes, and is valid UTF-8, so that no decoding error tells. Nobody writes C1 controls on purpose.

    Examples:
        >>> repair("he\x92s lost it\x85")
        'he’s lost it…'
    """
    return text.translate(_REPAIR)


def c1_controls(text: str) -> int:
    r"""How many C1 controls a text holds.

    Examples:
        >>> c1_controls("he\x92s"), c1_controls("he’s")
        (1, 0)
    """
    return len(_C1.findall(text))


def decode(data: bytes, source: str) -> tuple[str, str]:
    r"""Decode a label file: UTF-8, UTF-16 with its mark, else GB18030 or cp1252.

    Args:
        data: The file's bytes.
        source: How errors call the file.

    Returns:
        The text, and the name of the encoding it was in.

    Raises:
        UsageError: It is no text: there are zero bytes.

    Examples:
        >>> decode("平静".encode("gb18030"), "a.csv"), decode(b"don\x92t", "b.csv")
        (('平静', 'gb18030'), ('don’t', 'cp1252'))
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16"), "utf-16"
        except UnicodeDecodeError:
            raise UsageError(f"{source} begins like UTF-16 text but is none. Save it as UTF-8.") from None
    if b"\0" in data:
        raise UsageError(f"{source} is no text file: it holds zero bytes. A table is a .csv, .tsv or .parquet file.")
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        pass
    # Chinese in GB18030 comes in runs of two and more high bytes; the quotes and accents of cp1252 stand alone.
    runs = [len(run) for run in _HIGH_RUN.findall(data)]
    if sum(length for length in runs if length > 1) > sum(runs) / 2:
        try:
            return data.decode("gb18030"), "gb18030"
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1").translate({code: _REPAIR[code] for code in range(0x80, 0xA0)}), "cp1252"
