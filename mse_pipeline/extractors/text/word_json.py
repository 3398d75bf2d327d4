"""Word times as JSON: lists of words, and what the Montreal Forced Aligner, Whisper and WhisperX write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.extractors.text.rows import TimedWord
from mse_pipeline.extractors.text.text_file import read_text, unreadable, word_at
from mse_pipeline.extractors.text.word_tables import Recordings

_LATEST = 1e12  # of any unit; whole numbers of JSON have no end, numbers of seconds have
_LISTS = ("words", "word_segments", "segments", "chunks", "tiers")  # where words are, the nearest first
_TEXT, _START, _END = ("word", "text", "label"), ("start", "begin", "start_time"), ("end", "stop", "end_time")
_CONFIDENCE = ("confidence", "score", "probability")


def read_json(path: Path, scale: float = 1.0, tier: str | None = None) -> Recordings:
    """Words of a file of one recording, or of an object whose keys are recordings.

    Words are objects (``{"word": "so", "start": 0.1, "end": 0.4}``, with ``score`` or ``confidence``) or triples
    (``[0.1, 0.4, "so"]``); in a list, or in ``words``, ``segments`` (WhisperX), ``chunks`` (transformers) or a tier of
    ``tiers`` (Montreal Forced Aligner). Words without times, as WhisperX has them for numbers, are left out.

    Args:
        path: The file.
        scale: Units of time in a second.
        tier: Name of the tier, where there are tiers; None for ``words``.

    Raises:
        ClipError: `alignment_failed`: it is no JSON, or holds no words.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise unreadable(path.name, f"is no JSON: {error.msg}.", error.lineno) from None
    except ValueError as error:  # a number of thousands of digits
        raise unreadable(path.name, f"is no JSON: {error}.") from None
    except RecursionError:
        raise unreadable(path.name, "is nested too deeply for word times.") from None
    reader = _Reader(path.name, scale, tier)
    if isinstance(content, Mapping) and not any(key in content for key in _LISTS):
        return {str(name): list(reader.words(one)) for name, one in content.items()}
    return {"": list(reader.words(content))}


class _Reader:
    def __init__(self, file: str, scale: float, tier: str | None) -> None:
        self._file, self._scale, self._tier = file, scale, tier

    def words(self, content: Any) -> Iterator[TimedWord]:
        """The words of one recording."""
        if isinstance(content, Mapping):
            home = next((key for key in _LISTS if key in content), None)
            if home is None:
                raise unreadable(self._file, f"there are no words: none of {', '.join(_LISTS)} is there.")
            yield from self.words(self._of_tier(content["tiers"]) if home == "tiers" else content[home])
        elif isinstance(content, list):
            for item in content:
                if isinstance(item, Mapping) and isinstance(item.get("words"), list):
                    yield from self.words(item["words"])
                else:
                    yield from self._word(item)
        else:
            raise unreadable(self._file, f"a list of words is expected, but this is {str(content)[:50]!r}.")

    def _of_tier(self, tiers: Any) -> Any:
        name = self._tier or "words"
        there = tiers if isinstance(tiers, Mapping) else {}
        found = [key for key in there if key == name or (self._tier is None and key.endswith(" - words"))]
        if len(found) != 1 or not isinstance(there[found[0]], Mapping):
            names = ", ".join(map(repr, list(there)[:10])) or "none"
            raise unreadable(self._file, f"of its tiers ({names}) there is not just one called {name!r}.")
        return there[found[0]].get("entries")

    def _word(self, item: Any) -> Iterator[TimedWord]:
        if isinstance(item, list) and len(item) == 3:
            text, start, end, confidence = item[2], item[0], item[1], None
        elif isinstance(item, Mapping):
            text, confidence = _first(item, _TEXT), _first(item, _CONFIDENCE)
            both = item.get("timestamp")
            if isinstance(both, list) and len(both) == 2:
                start, end = both
            else:
                start, end = _first(item, _START), _first(item, _END)
        else:
            raise unreadable(self._file, f"a word with its times is expected, but this is {str(item)[:50]!r}.")
        if not isinstance(text, str):
            raise unreadable(self._file, f"a word is a text, but this is {str(item)[:50]!r}.")
        if start is None or end is None:
            return
        for time in (start, end):
            if isinstance(time, bool) or not isinstance(time, (int, float)):
                raise unreadable(self._file, f"{text[:50]!r} has the time {str(time)[:50]!r}, which is no number.")
            if abs(time) > _LATEST:
                raise unreadable(self._file, f"{text[:50]!r} has the time {str(time)[:50]}, no time of a recording.")
        yield word_at(text, start / self._scale, end / self._scale, confidence, (self._file, None))


def _first(item: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if name in item), None)
