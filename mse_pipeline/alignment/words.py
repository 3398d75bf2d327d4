"""Word alignment: one row a word, the same for sound, face and text; and one row a sub-token.

`to_words` pools features to words. `to_subtokens` turns rows of words into rows of a tokenizer's sub-tokens, so that
each position of a language model has features.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mse_pipeline.alignment.pooling import overlaps, pooled, pooled_names
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features


def to_subtokens(words: Features, tokenizer: Any) -> Features:
    """Give each sub-token of the clip's text the row of its word.

    A sub-token of several words (two Chinese characters in one) has their mean, weighted by characters; one that
    belongs to no word (a comma) is zero and not valid, and has no time.

    Args:
        words: Rows of words whose notes have the clip's ``text`` and the words' ``spans`` in it.
        tokenizer: A fast tokenizer of transformers.

    Returns:
        Features with one row a sub-token, without special tokens; the notes say which (``tokens``) and where
        (``spans``). If no word is found in the text, the words' rows as they are, with a note ``unexpanded``.
    """
    text, spans = words.notes.get("text"), words.notes.get("spans") or []
    if not text or not any(span is not None for span in spans):
        return Features(
            words.values,
            words.intervals,
            words.valid,
            words.names,
            {**words.notes, "unexpanded": "No word of the clip is found in its text."},
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    places = np.array(encoded["offset_mapping"], float).reshape(-1, 2)
    of_words = np.array([(np.nan, np.nan) if span is None else span for span in spans], float).reshape(-1, 2)
    # Words without values have times too, as when no face was seen.
    timed = overlaps(of_words, places, np.ones(len(words), bool))
    intervals = np.stack(
        [_extreme(np.minimum, words.intervals[:, 0], timed), _extreme(np.maximum, words.intervals[:, 1], timed)], axis=1
    )
    values, valid = pooled(words.values, overlaps(of_words, places, words.valid), "mean")
    kept = {key: value for key, value in words.notes.items() if key != "words"}
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    notes = {**kept, "tokens": tokens, "spans": places.astype(int).tolist()}
    return Features(values, intervals, valid, words.names, notes)


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Any:
    """A fast tokenizer from a folder or from the hub.

    Args:
        name: Folder or hub name.

    Raises:
        UsageError: There is none, or it cannot give the positions of its tokens in the text.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"alignment.subtokens: no tokenizer can be loaded from {name!r} ({str(error).splitlines()[0]}). "
            "Use a folder with a tokenizer.json, or the name of a model on the hub."
        ) from error
    if not tokenizer.is_fast:
        raise UsageError(
            f"alignment.subtokens: the tokenizer of {name!r} does not give the positions of its tokens in the text. "
            "Use one with a tokenizer.json."
        )
    return tokenizer


def _extreme(choose: np.ufunc, times: np.ndarray, overlap: Any) -> np.ndarray:
    """Earliest or latest time of the words of each sub-token; NaN if it has none."""
    result = np.full(overlap.segments, np.nan)
    result[overlap.segment] = times[overlap.row]  # any of its times as a start, since NaN would stay
    choose.at(result, overlap.segment, times[overlap.row])
    return result


_OF_ROWS = frozenset({"tokens", "words", "spans", "text"})  # notes about rows; pooling replaces them


def to_words(
    features: Features, words: Features, *, pool: str = "mean", silence: Literal["drop", "keep"] = "drop"
) -> Features:
    """Pool features to the words of a word stream.

    Rows with times are pooled by the time that they share with a word. Rows without times (sub-tokens of a text, whose
    notes ``spans`` say where they stand in it) are pooled by the characters that they share with it. Invalid rows
    never count, and neither do values that are not defined (NaN); a word has NaN in dimensions of which it has no
    defined value. A word without any is marked invalid and holds zeros.

    Args:
        features: On any clock.
        words: One row a word, as `text.word_times` and `text.ctc` make them; rows that are not valid are silence.
        pool: ``mean``, ``max``, ``std`` or ``functionals``, see `mse_pipeline.alignment.pooling.pooled`.
        silence: Whether silences have rows (`keep`) or none (`drop`).

    Returns:
        Features with the words' intervals, and their texts and spans in the notes.

    Examples:
        >>> loudness = Features([[1], [4], [9]], [[0, 1], [1, 2], [2, 3]], [True] * 3, ["loudness"])
        >>> words = Features([[1], [0], [1]], [[0, 1.5], [1.5, 2], [2, 3]], [1, 0, 1], ["confidence"],
        ...                  {"words": ["so", "", "what"], "spans": [[0, 2], None, [3, 7]]})
        >>> to_words(loudness, words).values.tolist()
        [[2.0], [9.0]]
        >>> to_words(loudness, words, pool="max", silence="keep").values.tolist()
        [[4.0], [4.0], [9.0]]
    """
    rows = _chosen(words, silence)
    if _has_times(features):
        overlap = overlaps(features.intervals, words.intervals[rows], features.valid)
    else:
        overlap = overlaps(_spans(features), _spans(words)[rows], features.valid)
    values, valid = pooled(features.values, overlap, pool)
    return Features(
        values,
        words.intervals[rows],
        valid,
        pooled_names(features.names, pool),
        {**_of_clip(features.notes), **_of_words(words, rows)},
    )


def word_rows(words: Features, *, silence: Literal["drop", "keep"] = "drop") -> Features:
    """A word stream's own rows after word alignment, with or without silences."""
    rows = _chosen(words, silence)
    notes = {**_of_clip(words.notes), **_of_words(words, rows)}
    return Features(words.values[rows], words.intervals[rows], words.valid[rows], words.names, notes)


def unaligned(features: Features, why: str, *, pool: str = "mean") -> Features:
    """The features of a clip without words: each row stays as it is, as if it were a word of its own.

    Args:
        features: On any clock.
        why: The reason, kept in the notes as ``unaligned``.
        pool: How other clips are pooled: all clips of a stream have the same dimensions.

    Examples:
        >>> f = Features([[2.0]], [[0, 1]], [True], ["loudness"])
        >>> unaligned(f, "no words", pool="functionals").values.tolist()
        [[2.0, 0.0, 2.0, 2.0, 0.0, 0.0]]
    """
    rows = np.arange(len(features), dtype=float)
    own = np.stack([rows, rows + 1], axis=1)
    values, valid = pooled(features.values, overlaps(own, own, features.valid), pool)
    names = pooled_names(features.names, pool)
    return Features(values, features.intervals, valid, names, {**features.notes, "unaligned": why})


def why_not(features: Features, words: Features | None) -> str | None:
    """Why features cannot be aligned to words; None if they can."""
    if words is None or not words.valid.any():
        return "The clip has no word times."
    if _has_times(features):
        return None
    if "spans" not in features.notes:
        return "The rows have neither times nor places in the text."
    if np.isnan(_spans(words)).all():
        return "No word of the clip is found in its text."
    return None


def _has_times(features: Features) -> bool:
    return not len(features) or bool(np.isfinite(features.intervals).any())


def _spans(features: Features) -> np.ndarray:
    """(T, 2) places in the text in characters; NaN where a row has none."""
    spans = features.notes.get("spans") or [None] * len(features)
    return np.array([(np.nan, np.nan) if span is None else span for span in spans], float).reshape(-1, 2)


def _chosen(words: Features, silence: str) -> np.ndarray:
    return np.flatnonzero(words.valid) if silence == "drop" else np.arange(len(words))


def _of_clip(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in notes.items() if key not in _OF_ROWS}


def _of_words(words: Features, rows: np.ndarray) -> dict[str, Any]:
    notes = {key: [words.notes[key][row] for row in rows] for key in ("words", "spans") if key in words.notes}
    return {**notes, "text": words.notes["text"]} if "text" in words.notes else notes
