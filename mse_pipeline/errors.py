"""Errors that a user may see: whole sentences that name the thing, what was found and what to do.

`MseError` and its subclasses are this package's own errors, with their exit codes. `explain` makes a sentence of what
the operating system refuses, such as a full disk, a folder without write permission, or a lost network drive: the path,
the cause and what to do. Such an error is not the fault of a clip, a dataset or a run, and extracting or training again
does not help. `failed_import` finds the library that could not be imported behind an error that names another thing.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class MseError(Exception):
    """The run's own failure. Commands print its sentence and exit with 1."""

    exit_code = 1


class UsageError(MseError):
    """The request itself cannot be understood or carried out. Commands exit with 2."""

    exit_code = 2


class ClipError(MseError):
    """One clip, or one stream of it, cannot be processed; the run goes on without it.

    Args:
        code: One of `mse_pipeline.clip.DEFECT_CODES`.
        message: What was found, as a sentence.

    Examples:
        >>> error = ClipError("no_audio", "a.mp4 has no audio stream.")
        >>> error.code, str(error)
        ('no_audio', 'a.mp4 has no audio stream.')
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ClipError], tuple[str, str]]:
        """Let the error cross process borders whole."""
        return type(self), (self.code, str(self))


def did_you_mean(name: str, known: Iterable[str], *, sentence: bool = False) -> str:
    """The end of an error about an unknown name: the nearest known one, or nothing if none is near.

    A usual word in place of ours counts as near, as audio for acoustic, and so does a name without what stands before
    its dot or slash.

    Args:
        name: What was asked for.
        known: What there is.
        sentence: Whether it is a sentence of its own, after a full stop.

    Examples:
        >>> "unknown key" + did_you_mean("learning_rat", ["epochs", "learning_rate"])
        'unknown key; did you mean learning_rate?'
        >>> did_you_mean("audio", ["acoustic", "visual"]), did_you_mean("mtcnn", ["acoustic.egemaps", "visual.mtcnn"])
        ('; did you mean acoustic?', '; did you mean visual.mtcnn?')
        >>> did_you_mean("xyz", ["epochs"])
        ''
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    asked = name.lower()
    head, dot, rest = asked.partition(".")
    ours = f"{_OURS.get(head, head)}{dot}{rest}"
    ends = [candidate for candidate in by_lower if asked and candidate.endswith((f".{asked}", f"/{asked}"))]
    near = [ours] if ours in by_lower else ends or get_close_matches(asked, by_lower, n=1, cutoff=0.6)
    near = near or get_close_matches(ours, by_lower, n=1)
    if not near:
        return ""
    return f"{' Did' if sentence else '; did'} you mean {by_lower[near[0]]}?"


_OURS = {
    **dict.fromkeys(("audio", "sound", "speech", "voice"), "acoustic"),
    **dict.fromkeys(("video", "vision", "image", "face", "faces"), "visual"),
    **dict.fromkeys(("language", "words", "transcript", "transcripts"), "text"),
    **dict.fromkeys(("dev", "val", "validation"), "valid"),
}
"""Usual words for what this package calls otherwise: modalities and splits."""


_GOES_ON = "The results so far are kept; the same command continues from there."

_SENTENCES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "Free some space, or choose a folder on another disk."),
    errno.EDQUOT: ("your quota on this disk is used up", "Remove files, ask for more, or choose another folder."),
    errno.EFBIG: ("the file would be larger than is allowed", "Check `ulimit -f`, and whether the disk is FAT32."),
    errno.EROFS: ("the disk is read-only", "Choose a folder that can be written to."),
    errno.EACCES: ("permission is denied", "Change the permissions of it or of its folder, or choose another."),
    errno.EPERM: ("it is not permitted", "Change the permissions of it or of its folder, or choose another."),
    errno.ENOENT: ("there is no such file or folder", "Check the path; nothing else may remove it during a run."),
    errno.ENOTDIR: ("a file lies where a folder should be", "Choose another folder, or move the file away."),
    errno.EEXIST: ("a file lies where a folder should be", "Choose another folder, or move the file away."),
    errno.EISDIR: ("a folder lies where a file should be", "Give the path of a file, or move the folder away."),
    errno.ENOTEMPTY: ("the folder is not empty", "Choose another, or empty it."),
    errno.ENAMETOOLONG: ("the name is too long for this disk", "Choose a shorter path."),
    errno.EINVAL: ("this disk does not allow such a name or operation", "Choose a folder on another disk."),
    errno.ELOOP: ("symbolic links lead in a circle", "Correct the symbolic links."),
    errno.EXDEV: ("two folders lie on different disks", "Choose folders on one disk."),
    errno.EMFILE: ("this process has too many open files", "Raise `ulimit -n`, or use fewer --workers."),
    errno.ENFILE: ("the system has too many open files", "End other programs, or use fewer --workers."),
    errno.ENOMEM: ("memory is used up", "Use fewer --workers, or end other programs."),
    errno.EAGAIN: ("the system has no more processes or locks to give", "Use fewer --workers, or see `ulimit -u`."),
    errno.EIO: ("the disk reports an error", "Check the disk and its cable, and copy the data elsewhere."),
    errno.ESTALE: ("the network drive has lost the file", "Mount the drive again."),
    errno.ENOTCONN: ("the network drive is not connected", "Mount the drive again."),
    errno.EHOSTDOWN: ("the network drive does not answer", "Check the network and the drive."),
    errno.EHOSTUNREACH: ("the network drive cannot be reached", "Check the network and the drive."),
    errno.ETIMEDOUT: ("no answer came in time", "Check the network and the drive."),
    errno.ECONNREFUSED: ("the connection was refused", "Check the address, and that the server runs."),
    errno.ECONNRESET: ("the connection was broken off", "Check the network."),
    errno.EADDRINUSE: ("the network address is in use", "End the other program, or choose another port."),
    errno.ENODEV: ("the device has gone", "Connect and mount it again."),
    errno.ENXIO: ("the device has gone", "Connect and mount it again."),
    errno.ENOLCK: ("this disk does not support locks", "Put the cache on a local disk."),
    errno.ENOTSUP: ("this disk does not support the operation", "Choose a folder on another disk."),
}
_OF_THE_MACHINE = frozenset(_SENTENCES) - {errno.ENOENT, errno.EINVAL}
_OF_ALL_CLIPS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
    | {errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO}
)
_NUMBER = re.compile(r"\b(?:[Ee]rrno|os error)\W{1,3}(\d+)")
_LITTLE = 1 << 16  # bytes that are left on a disk where nothing more can be written


def explain(error: OSError, path: str | Path | None = None) -> str:
    """What the operating system refused, as a sentence: the path, the cause and the mend.

    Args:
        error: As Python or a library raised it.
        path: Where it happened, if the error does not say.

    Examples:
        >>> explain(OSError(errno.ENOSPC, "No space left on device", "cache/meld/clips.parquet"))
        'cache/meld/clips.parquet: the disk is full. Free some space, or choose a folder on another disk.'
    """
    named = error.filename2 or error.filename or path
    where = os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else None
    number = number_of(error)
    cause, mend = _SENTENCES.get(number or 0, (None, "Look at the path, its disk and its permissions."))
    if cause is None:
        cause = " ".join((error.strerror or str(error) or type(error).__name__).split()).rstrip(".")
    sentence = f"{cause}. {mend}"
    return f"{where}: {sentence}" if where else sentence[0].upper() + sentence[1:]


def number_of(error: BaseException) -> int | None:
    """The system's number of an error; libraries of C and Rust hide it in their words.

    Examples:
        >>> number_of(RuntimeError("I/O error: No space left on device (os error 28)")) == errno.ENOSPC
        True
    """
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number:
        return number
    match = _NUMBER.search(str(error))
    return int(match[1]) if match else None


def of_the_machine(error: object) -> bool:
    """Whether what keeps a file from being read is the machine's fault, so that the file may well be whole.

    An error that the disk itself reports is none of these: what lies there is lost.

    Examples:
        >>> of_the_machine(PermissionError(errno.EACCES, "Permission denied")), of_the_machine(ValueError("not JSON"))
        (True, False)
    """
    return isinstance(error, OSError) and number_of(error) in _OF_THE_MACHINE - {errno.EIO}


def refuse_if_of_all_clips(error: BaseException, path: str | Path | None = None) -> None:
    """Pass over what may be the fault of one clip, and end the run where the next clip would meet the same.

    Raises:
        MseError: The disk is full or gone, or the system has no more memory or files to give.
    """
    if isinstance(error, OSError) and number_of(error) in _OF_ALL_CLIPS:
        raise MseError(explain(error, path)) from error


def failed_import(error: BaseException) -> tuple[str, str] | None:
    """The package that could not be imported, and why, where that is what an error comes from; None elsewhere.

    Libraries import parts of themselves and of others late, so it may show as an error of a tokenizer or a model.

    Examples:
        >>> failed_import(ModuleNotFoundError("No module named 'torch'", name="torch"))
        ('torch', "ModuleNotFoundError: No module named 'torch'")
        >>> failed_import(ValueError("no number"))
    """
    found, cause = None, error.__cause__
    package = _imported_at(error)
    if package:
        found = package, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return (failed_import(cause) if cause is not None else None) or found


def _imported_at(error: BaseException) -> str | None:
    """The package whose code was run by an import when an error was raised, or that an import did not find."""
    names = []
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_code.co_name == "<module>":
            names.append(str(place.tb_frame.f_globals.get("__name__")))
        place = place.tb_next
    if isinstance(error, ImportError):
        names = names or [error.name or ""]
    packages = [name.partition(".")[0] for name in names]
    others = [package for package in packages if package not in {"", "__main__", "mse_pipeline"}]
    return others[-1] if others else None


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Within it, what keeps a file from being written is an OSError that names the file.

    Python's own error of a full disk names none, and libraries raise errors of their own kinds.
    """
    try:
        yield
    except MseError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        number = number_of(error)
        if number is None and _is_full(Path(path).parent):
            number = errno.ENOSPC
        if number not in _OF_THE_MACHINE:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LITTLE
    except OSError:
        return False


def goes_on(sentence: str) -> str:
    """A sentence about a command that may be given again."""
    return f"{sentence} {_GOES_ON}"
