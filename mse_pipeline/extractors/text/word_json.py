"""Word times as JSON: lists of words, and what the Montreal Forced Aligner, Whisper and WhisperX write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.text.word_checks import (
    CONFIDENCE,
    Given,
    Recordings,
    Words,
    checked,
    read_text,
    unreadable,
)

_LISTS = ("words", "word_segments", "segments", "chunks", "tiers")  # where words are, the nearest first
_TEXT, _START, _END = ("word", "text", "label"), ("start", "begin", "start_time"), ("end", "stop", "end_time")


def read_json(path: Path, scale: float = 1.0, tier: str | None = None) -> Recordings:
    """Words of a file of one recording, or of an object whose keys are recordings.

    Words are objects (``{"word": "so", "start": 0.1, "end": 0.4}``, with ``score``, ``probability``, ``confidence`` or
    ``avg_logprob``) or triples (``[0.1, 0.4, "so"]``); in a list, or in ``words``, ``segments`` (Whisper, WhisperX),
    ``chunks`` (transformers) or a tier of ``tiers`` (Montreal Forced Aligner). Words without times, as WhisperX has
    them for numbers, are left out, and told.

    Args:
        path: The file.
        scale: Units of time in a second.
        tier: Name of the tier, where there are tiers; None for ``words``.

    Raises:
        ClipError: `alignment_failed`: it is no JSON, or has no word that can be used.
    """
    try:
        content = json.loads(read_text(path), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise unreadable(path.name, f"is no JSON: {error.msg}.", error.lineno) from None
    except ValueError as error:  # a number of thousands of digits, or a name that is there twice
        raise unreadable(path.name, f"is no JSON: {error}.") from None
    except RecursionError:
        raise unreadable(path.name, "is nested too deeply for word times.") from None
    reader = _Reader(path.name, tier)
    if not isinstance(content, Mapping) or any(key in content for key in _LISTS):
        return checked({"": list(reader.words(content))}, path.name, scale)
    by_recording: dict[str, list[Given]] = {}
    unreadables: Recordings = {}
    first: ClipError | None = None
    for name, recording in content.items():
        try:
            by_recording[name] = list(reader.words(recording))
        except ClipError as error:  # costs this recording alone
            unreadables[name] = Words((), [str(error)])
            first = first or error
    if first is not None and not by_recording:
        raise first
    return checked(by_recording, path.name, scale) | unreadables


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Two entries of one name, as of two tiers, are refused: Python would drop the first."""
    merged = dict(pairs)
    if len(merged) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"one object has several entries called {twice[:50]!r}. Give them different names")
    return merged


class _Reader:
    def __init__(self, file: str, tier: str | None) -> None:
        self._file, self._tier = file, tier

    def words(self, content: Any) -> Iterator[Given]:
        """The words of one recording."""
        if isinstance(content, Mapping):
            # WhisperX leaves an empty word_segments beside segments that it did not align.
            keys = [key for key in _LISTS if key in content]
            home = next((key for key in keys if content[key]), keys[0] if keys else None)
            if home is None:
                raise unreadable(self._file, f"there are no words: none of {', '.join(_LISTS)} is there.")
            yield from self.words(self._of_tier(content["tiers"]) if home == "tiers" else content[home])
        elif isinstance(content, list):
            segmented = any(_is_segment(item) for item in content)
            for item in content:
                if _is_segment(item):
                    text = str(item.get("text") or "").strip()
                    if text and not item["words"]:
                        yield Given(fault=f"the segment {text[:50]!r} has no words")
                    yield from self.words(item["words"])
                elif segmented:  # beside segments with words, what has none is a segment too, and no word
                    yield Given(fault=f"the segment {str(item)[:50]!r} has no words")
                else:
                    yield _word(item)
        else:
            raise unreadable(self._file, f"a list of words is expected, but this is {str(content)[:50]!r}.")

    def _of_tier(self, tiers: Any) -> Any:
        name = self._tier or "words"
        tiers_by_name = tiers if isinstance(tiers, Mapping) else {}
        found = [key for key in tiers_by_name if key == name or (self._tier is None and key.endswith(" - words"))]
        if len(found) != 1 or not isinstance(tiers_by_name[found[0]], Mapping):
            names = ", ".join(map(repr, list(tiers_by_name)[:10])) or "none"
            raise unreadable(
                self._file,
                f"of its tiers ({names}) there is not just one called {name!r}. Name one with the option tier.",
            )
        return tiers_by_name[found[0]].get("entries")


def _is_segment(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("words"), list)


def _word(item: Any) -> Given:
    if isinstance(item, list) and len(item) == 3:
        return Given(item[2], item[0], item[1])
    if not isinstance(item, Mapping):
        return Given(fault=f"a word with its times is expected, but this is {str(item)[:50]!r}")
    text, confidence = _first(item, _TEXT), _first(item, CONFIDENCE)
    if text is None:
        return Given(fault=f"a word is a text, but this is {str(item)[:50]!r}")
    both = item.get("timestamp")
    if isinstance(both, list) and len(both) == 2:
        return Given(text, both[0], both[1], confidence)
    return Given(text, _first(item, _START), _first(item, _END), confidence)


def _first(item: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if name in item), None)
