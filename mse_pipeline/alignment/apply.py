"""Which alignments there are, and how a recipe's choice is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mse_pipeline.store.features import Features

Align = Callable[[str, Features], Features]
"""Clip id and its features on their own clock -> features on the clock that was asked for."""


def aligner(
    alignment: Mapping[str, Any], words_of: Callable[[str], Features | None] | None = None, *, of_words: bool = False
) -> Align:
    """The function that puts a clip's features on the clock that a recipe asks for.

    Args:
        alignment: ``{"kind": "none"}`` (own clock, true length), ``{"kind": "grid", "step": seconds}``,
            ``{"kind": "equal_bins", "bins": number}``, or ``{"kind": "words", "stream": name, "pool": "mean",
            "silence": "drop", "subtokens": tokenizer or None}``.
        words_of: The rows of the word stream by clip id, None for a clip that has none; for ``words`` alone.
        of_words: Whether it is the word stream itself that is put on its words.

    Raises:
        ValueError: There is no such alignment.
        UsageError: The tokenizer of ``subtokens`` cannot be used.

    Examples:
        >>> aligner({"kind": "none"})("a", f := Features([[1.0]], [[0, 1]], [True], ["a"])) is f
        True
    """
    match alignment:
        case {"kind": "none"}:
            return lambda _, features: features
        case {"kind": "grid", "step": step}:
            from mse_pipeline.alignment.grid import to_grid

            return lambda _, features: to_grid(features, float(step))
        case {"kind": "equal_bins", "bins": bins}:
            from mse_pipeline.alignment.equal_bins import to_equal_bins

            return lambda _, features: to_equal_bins(features, int(bins))
        case {"kind": "words", "pool": pool, "silence": silence} if words_of is not None:
            return _on_words(str(pool), silence, alignment.get("subtokens"), words_of, of_words)
        case _:
            raise ValueError(
                f"There is no alignment {dict(alignment)!r}; there are none, grid, equal_bins, "
                "and words where a stream of words is at hand."
            )


def _on_words(
    pool: str, silence: Any, subtokens: str | None, words_of: Callable[[str], Features | None], of_words: bool
) -> Align:
    from mse_pipeline.alignment.subtokens import load_tokenizer, to_subtokens
    from mse_pipeline.alignment.words import to_words, unaligned, why_not, word_rows

    tokenizer = None if subtokens is None else load_tokenizer(subtokens)

    def align(clip: str, features: Features) -> Features:
        if of_words:
            aligned = word_rows(features, silence=silence)
        else:
            words = words_of(clip)
            reason = why_not(features, words)
            if words is None or reason is not None:
                return unaligned(features, str(reason), pool=pool)
            aligned = to_words(features, words, pool=pool, silence=silence)
        return aligned if tokenizer is None else to_subtokens(aligned, tokenizer)

    return align
