"""The errors that a user may meet: whole sentences that name the thing, what was found and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, or nothing if none is near.

    Examples:
        >>> "unknown key" + did_you_mean("learning_rat", ["epochs", "learning_rate"])
        'unknown key; did you mean learning_rate?'
        >>> did_you_mean("xyz", ["epochs"])
        ''
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    nearest = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[nearest[0]]}?" if nearest else ""
