"""Expansion: rows of words -> rows of a tokenizer's sub-tokens, so that a language model's positions have features."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mse_pipeline.alignment.pooling import overlaps, pooled
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features


def to_subtokens(words: Features, tokenizer: Any) -> Features:
    """Give each sub-token of the clip's text the row of the word that it is a part of.

    A sub-token of several words (two Chinese characters in one) has their mean, weighted by characters; one that
    belongs to no word (a comma) is zero and not valid, and has no time.

    Args:
        words: Rows of words whose notes have the clip's ``text`` and the words' ``spans`` in it.
        tokenizer: A fast tokenizer of transformers.

    Returns:
        Features with one row a sub-token, without special tokens; the notes say which (``tokens``) and where
        (``spans``). Where no word has a place in the text, the words' rows as they are, with a note ``unexpanded``.
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
    # Times are known for words without values too, as where no face was seen.
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
        UsageError: There is none, or it cannot tell where its tokens stand in the text.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"alignment.subtokens: no tokenizer can be loaded from {name!r} ({str(error).splitlines()[0]}). "
            "Give a folder with a tokenizer.json, or the name of a model on the hub."
        ) from error
    if not tokenizer.is_fast:
        raise UsageError(
            f"alignment.subtokens: the tokenizer of {name!r} does not tell where its tokens stand in the text. "
            "Give one with a tokenizer.json."
        )
    return tokenizer


def _extreme(choose: np.ufunc, times: np.ndarray, found: Any) -> np.ndarray:
    """Least or greatest time of the words of each sub-token; NaN where it has none."""
    result = np.full(found.segments, np.nan)
    result[found.segment] = times[found.row]  # any of them to begin with: NaN would stay
    choose.at(result, found.segment, times[found.row])
    return result
