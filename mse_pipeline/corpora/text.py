"""Bytes of label files -> text, with the damage of past conversions repaired."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from mse_pipeline.corpora.encodings import REPLACED, check_encoding, guess_encoding
from mse_pipeline.errors import UsageError

_MARK = "\ufeff"
# UTF-32's mark begins with that of UTF-16.
_MARKS = (
    ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
    ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
)

# What turns ASCII into the characters of two bytes a sign.
_ESCAPES = ((b"\x1b$)C", "iso2022_kr"), (b"\x1b$B", "iso2022_jp_ext"), (b"\x1b$@", "iso2022_jp_ext"))


def _cp1252(code: int) -> str:
    # Five of the 32 places are empty in cp1252; the replacement sign keeps the damage visible.
    return bytes([code]).decode("cp1252", errors="replace")


_REPAIR = {code: _cp1252(code) for code in range(0x80, 0xA0)} | {0xA0: " "}
_C1 = re.compile("[\x80-\x9f]")


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


@dataclass(frozen=True)
class Decoded:
    """The text of a label file.

    Attributes:
        text: `encodings.REPLACED` stands in the place of damaged bytes.
        encoding: Python's name of it, as in ``utf-8``.
        note: What the user should know of it, as sentences; empty for sound UTF-8.
    """

    text: str
    encoding: str
    note: str


def decode(data: bytes, source: str) -> tuple[str, str]:
    r"""Decode a label file, as `decode_file` does, whose note is passed over.

    Args:
        data: The file's bytes.
        source: How errors call the file.

    Returns:
        The text, and the name of the encoding it was in.

    Raises:
        UsageError: It is no text.

    Examples:
        >>> decode("平静".encode("gb18030"), "a.csv"), decode(b"don\x92t", "b.csv")
        (('平静', 'gb18030'), ('don’t', 'cp1252'))
    """
    decoded = decode_file(data, source)
    return decoded.text, decoded.encoding


def decode_file(data: bytes, source: str, encoding: str | None = None) -> Decoded:
    """Decode a label file: UTF-8, UTF-16 with or without its mark, else the likeliest of the world's older encodings.

    Damaged bytes cost the place where they stand and nothing else.

    Args:
        data: The file's bytes.
        source: How errors call the file.
        encoding: That it is in, where someone tells; None to find out.

    Raises:
        UsageError: It is no text, or not in the encoding that was told.
    """
    if encoding is not None:
        return _as_told(data, source, encoding)
    for marks, name in _MARKS:
        if data.startswith(marks):
            return _wide(data, source, name)
    wide = _wide_without_mark(data) if b"\0" in data else None
    if wide is not None:
        return _wide(data, source, wide)
    zeros = data.count(b"\0")
    if zeros * 50 > len(data) or (zeros > 1 and zeros * 1000 > len(data)):
        raise UsageError(f"{source} is no text file: it holds zero bytes. A table is a .csv, .tsv or .parquet file.")
    # A few zero bytes, as a disk leaves them that was not unmounted, are damage like any other.
    data = data.replace(b"\0", REPLACED.encode())
    if data.isascii():
        return _escaped(data, source) or Decoded(data.decode("ascii"), "utf-8", "")
    guess = guess_encoding(data, source)
    if guess.encoding == "utf-8":
        text = data.decode("utf-8", "replace").lstrip(_MARK)
        damaged = text.count(REPLACED) > data.count(REPLACED.encode())
        told = f"{source} was read as utf-8; it holds bytes that are none, which are told as defects of their rows."
        note = told if damaged or guess.doubt else ""
    else:
        text = data.decode(guess.encoding, "replace")
        note = f"{source} was read as {guess.encoding} ({guess.language})."
    if guess.doubt:
        note = (
            f"{source} was read as {guess.encoding}, which is a doubtful guess: {guess.doubt}. Save the file as UTF-8, "
            "or name its encoding with --encoding or the option encoding."
        )
    return Decoded(text, guess.encoding, note)


def is_damaged(text: str) -> bool:
    r"""Whether a text holds encoding damage, which `repair` mends or which has cost signs for good.

    Examples:
        >>> is_damaged("he\x92s"), is_damaged("caf\ufffd"), is_damaged("he’s")
        (True, True, False)
    """
    return REPLACED in text or repair(text) != text


def _as_told(data: bytes, source: str, encoding: str) -> Decoded:
    name = check_encoding(encoding)
    if name == "utf-8":
        name = "utf-8-sig"
    text = data.decode(name, "replace").lstrip(_MARK)
    lost = text.count(REPLACED)
    beyond = sum(not sign.isascii() for sign in text)
    if lost * 4 > beyond:
        raise UsageError(
            f"{source} is not in the encoding {encoding}: {lost:,} of its {beyond:,} signs beyond ASCII cannot be "
            "read. Give another --encoding, or none to have it found out."
        )
    return Decoded(text, name.removesuffix("-sig"), f"{source} was read as {encoding}, as it was told.")


def _escaped(data: bytes, source: str) -> Decoded | None:
    """Text of an encoding whose bytes are all ASCII, as mails from Japan and Korea are; None where it is none."""
    for begin, name in _ESCAPES:
        if begin in data:
            text = data.decode(name, "replace")
            if REPLACED not in text:
                return Decoded(text, name, f"{source} was read as {name}.")
    return None


def _wide(data: bytes, source: str, name: str) -> Decoded:
    """Text of two or four bytes a sign."""
    text = data.decode(name, "replace").lstrip(_MARK)
    if text.count(REPLACED) * 100 > len(text) or "\0" in text:
        raise UsageError(f"{source} begins like {name.upper()} text but is none. Save it as UTF-8.")
    return Decoded(text, name, f"{source} was read as {name}.")


def _wide_without_mark(data: bytes) -> str | None:
    """UTF-16 without its mark: the signs that part cells are ASCII, so that every second byte of them is zero."""
    head = data[:4096]
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        # The head may end within a sign of four bytes.
        begin = head[: len(head) // 2 * 2].decode(name, "replace").strip(_MARK + REPLACED)
        sound = begin and all((sign.isprintable() or sign.isspace()) and sign != REPLACED for sign in begin)
        if sound and zeros.count(0) * 3 > len(zeros):
            return name
    return None
