"""What a file is by its first bytes, in words: a broken download or another format may have any name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LFS_POINTER = b"version https://git-lfs"
"""How the small text begins that Git leaves in the place of a large file."""

_HEAD = 4096
_SAMPLE = 1 << 16
_MOST_MEMBERS = 10_000
_TEXT_SIGNS = frozenset(b"\t\r\n\f\x1b")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: As in ``a web page (HTML)``; it follows "is".
        mend: What helps, as a sentence.
        text: Whether it is text of no known form, which many formats are.

    Examples:
        >>> str(kind_of_bytes(b"<!DOCTYPE html><html>"))
        'a web page (HTML). A download that asks for a login or a confirmation leaves such a page: download it again.'
    """

    name: str
    mend: str
    text: bool = False

    def __str__(self) -> str:
        return f"{self.name}. {self.mend}"


def kind_of(path: Path) -> FileKind | None:
    """What a file is; None where its first bytes tell nothing, or it cannot be opened.

    Args:
        path: Local, or on a remote storage.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            kind = kind_of_bytes(head)
            return _archive(file) if kind is _ZIP else kind
    except OSError:
        return None


def kind_of_bytes(head: bytes) -> FileKind | None:
    """What a file is that begins so; None where that tells nothing.

    Args:
        head: Its first bytes; 512 and more tell all kinds.

    Examples:
        >>> kind_of_bytes(b"version https://git-lfs.github.com/spec/v1").name
        'a Git LFS pointer'
    """
    return next((kind for fits, kind in _KINDS if fits(head)), None)


def windows_line_ends(path: Path) -> bool:
    """Whether every line feed of a file follows a carriage return, as a copy in text mode leaves a binary file."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    feeds = sample.count(b"\n")
    return feeds > 0 and feeds == sample.count(b"\r\n")


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return all(byte >= 32 or byte in _TEXT_SIGNS for byte in head) and b"\x7f" not in head


def _is_json(head: bytes) -> bool:
    plain = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return len(plain) > 1 and plain[:1] in (b"{", b"[") and _is_text(head)


def _begins(begin: bytes) -> Callable[[bytes], bool]:
    # A text may begin with the letters that some formats begin with.
    return lambda head: head.startswith(begin) and not (begin.isalnum() and _is_text(head))


def _archive(file: object) -> FileKind:
    """What a zip archive holds, by the names in it; nothing of it is unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:  # type: ignore[call-overload]
            names = archive.namelist()[:_MOST_MEMBERS]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, OverflowError, RuntimeError):
        return _CUT_ZIP
    if any(name.endswith("/data.pkl") for name in names):
        return _TORCH
    if names and all(name.endswith(".npy") for name in names):
        return _NPZ
    return _XLSX if "xl/workbook.xml" in names else _ZIP


_AGAIN = "Download it again."
_EMPTY = FileKind("empty: it has no bytes", _AGAIN)
_ZEROS = FileKind("nothing but zero bytes, as after a download that was cut off", _AGAIN)
_PAGE_KIND = FileKind(
    "a web page (HTML)", "A download that asks for a login or a confirmation leaves such a page: download it again."
)
_TEXT = FileKind("text", "Open it in an editor: it may say what went wrong.", text=True)
_JSON = FileKind("text (JSON)", "Open it in an editor: it may say what went wrong.", text=True)
_ZIP = FileKind("a zip archive", "Unpack it, and give what is in it.")
_CUT_ZIP = FileKind("a zip archive that is cut off or damaged", _AGAIN)
_TORCH = FileKind(
    "a file of torch.save (a zip archive)",
    "Load it with torch.load(path, weights_only=True), and save its tensors as numpy arrays with np.save.",
)
_OLD_TORCH = FileKind("a file of torch.save", _TORCH.mend)
_NPZ = FileKind("an .npz archive of numpy", "Load it with np.load, and save its arrays as the format has them.")
_XLSX = FileKind("an Excel workbook", "Save its sheet as CSV.")
_TAR = FileKind("a tar archive", "Unpack it: tar xf.")
_MEDIA = FileKind("a media file", "Give the file of features instead.")
_PACKED = "Unpack it: {}."
_OTHER = "Its name says another format: rename it, or give another file."

_BEGINNINGS = (
    (
        LFS_POINTER,
        FileKind("a Git LFS pointer", "The file itself was not downloaded: run `git lfs pull` in its repository."),
    ),
    (b"/annex/objects/", FileKind("a git-annex pointer", "Run `git annex get` in its repository.")),
    (b"outs:\n- md5:", FileKind("a DVC pointer", "Run `dvc pull` in its repository.")),
    (b"<?xml", FileKind("an XML page, as a storage answers with an error", _AGAIN)),
    (b"\x1f\x8b", FileKind("packed with gzip", _PACKED.format("gunzip, or tar xzf where it is a tar archive"))),
    (b"BZh", FileKind("packed with bzip2", _PACKED.format("bunzip2"))),
    (b"\xfd7zXZ\0", FileKind("packed with xz", _PACKED.format("unxz"))),
    (b"\x28\xb5\x2f\xfd", FileKind("packed with zstd", _PACKED.format("unzstd"))),
    (b"\x04\x22\x4d\x18", FileKind("packed with lz4", _PACKED.format("unlz4"))),
    (b"PK\x03\x04", _ZIP),
    (b"PK\x05\x06", _ZIP),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", _PACKED.format("7z x"))),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", _PACKED.format("unrar x"))),
    (b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file", _OTHER)),
    (
        b"\x89HDF\r\r\n",
        FileKind(
            "a damaged HDF5 file, whose line ends a copy in text mode has changed", "Copy it again as a binary file."
        ),
    ),
    (
        b"\x89HDF\n\x1a",
        FileKind(
            "a damaged HDF5 file, whose line ends a copy in text mode has changed", "Copy it again as a binary file."
        ),
    ),
    (b"\x93NUMPY", FileKind("an .npy file of numpy", _OTHER)),
    (b"PAR1", FileKind("a Parquet file", _OTHER)),
    (b"ARROW1", FileKind("an Arrow file", _OTHER)),
    (b"SQLite format 3\0", FileKind("an SQLite database", _OTHER)),
    (b"MATLAB 5.0 MAT-file", FileKind("a MATLAB file", "Save its arrays with numpy (scipy.io.loadmat reads them).")),
    (b"%PDF-", FileKind("a PDF document", _AGAIN)),
    (b"\x89PNG", FileKind("a picture (PNG)", _OTHER)),
    (b"\xff\xd8\xff", FileKind("a picture (JPEG)", _OTHER)),
    (b"RIFF", _MEDIA),
    (b"\x1a\x45\xdf\xa3", _MEDIA),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", _OLD_TORCH),
    *((b"\x80" + bytes([version]), FileKind("a pickle of Python", _OTHER)) for version in range(2, 6)),
)
_KINDS: tuple[tuple[Callable[[bytes], object], FileKind], ...] = (
    (lambda head: not head, _EMPTY),
    (_PAGE.match, _PAGE_KIND),
    *((_begins(begin), kind) for begin, kind in _BEGINNINGS),
    (lambda head: head[257:262] == b"ustar", _TAR),
    (lambda head: head[4:8] == b"ftyp", _MEDIA),
    (lambda head: not head.strip(b"\0"), _ZEROS),
    (_is_json, _JSON),
    (_is_text, _TEXT),
)
"""How to tell kinds; the first that fits."""
