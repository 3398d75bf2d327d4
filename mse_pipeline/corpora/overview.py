"""What a reader understood of a corpus, in few words: task, splits, languages, labels and texts that are absent."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Task, describe, to_plain

_SCRIPTS = {
    **dict.fromkeys(("zh", "yue"), ("CJK",)),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ko": ("HANGUL",),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk"), ("CYRILLIC",)),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    "th": ("THAI",),
}
"""Language -> the scripts that it is written in, where that is not the Latin one."""

_NAMES = {
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese kana",
    "KATAKANA": "Japanese kana",
    "LATIN": "Latin letters",
}
_LATIN_TOO = 0.05  # of the texts of such a language may be in Latin letters: "OK", names


@dataclass(frozen=True)
class Overview:
    """What a reader understood.

    Attributes:
        task: What is to be predicted.
        splits: Clips a split; splits without any are absent.
        languages: Clips a language.
        clips: All of them.
        unlabelled: Clips without a label.
        textless: Clips without a text.
    """

    task: Task
    splits: Mapping[str, int]
    languages: Mapping[str, int]
    clips: int
    unlabelled: int
    textless: int

    def sentence(self, labelled: bool = True) -> str:
        """All of it in a line.

        Args:
            labelled: Whether labels and splits count, which they do not where they are what is to be predicted.
        """
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        languages = ", ".join(
            language if len(self.languages) == 1 else f"{language} {count:,}"
            for language, count in self.languages.items()
        )
        parts = [f"Understood: {describe(self.task)}"]
        parts += [f"splits {splits}"] if labelled else [f"{self.clips:,} clips"]
        parts.append(f"language of the texts {languages}")
        if labelled:
            parts.append(f"{_share(self.unlabelled, self.clips)} without a label")
        if self.textless:
            parts.append(f"{_share(self.textless, self.clips)} without a text")
        return "; ".join(parts) + "."

    def to_dict(self, labelled: bool = True) -> dict[str, Any]:
        """Plain values for `--json`.

        Args:
            labelled: As for `sentence`.
        """
        value = {
            "task": to_plain(self.task),
            "languages": dict(self.languages),
            "clips": self.clips,
            "textless": self.textless,
        }
        if not labelled:
            return value
        share = self.unlabelled / self.clips if self.clips else 0.0
        return value | {
            "splits": dict(self.splits),
            "unlabelled": self.unlabelled,
            "unlabelled_share": share,
        }


def overview(clips: Sequence[Clip], task: Task) -> Overview:
    """What the clips of a corpus are.

    Examples:
        >>> clips = [Clip(id="a", split=Split.TRAIN, text="Hi", label=1.0), Clip(id="b", split=Split.TEST)]
        >>> from mse_pipeline.task import Regression
        >>> print(overview(clips, Regression(-1, 1)).sentence())
        Understood: numbers from -1 to 1; splits train 1, test 1; language of the texts en; 1 of 2 clips (50.0 %)
        without a label; 1 of 2 clips (50.0 %) without a text.
    """
    counts = Counter(clip.split for clip in clips)
    return Overview(
        task=task,
        splits={str(split): counts[split] for split in Split if counts[split]},
        languages=dict(Counter(clip.language for clip in clips).most_common()),
        clips=len(clips),
        unlabelled=sum(clip.label is None for clip in clips),
        textless=sum(not clip.text.strip() for clip in clips),
    )


def foreign_texts(clips: Iterable[Clip]) -> list[str]:
    """Remarks on texts that are written in other signs than their language is.

    Examples:
        >>> print(foreign_texts([Clip(id="a", split=Split.TEST, text="今天天气不错", language="en")])[0])
        1 of 1 texts of language en is written in Chinese characters, as that of a: if the language is another, as zh,
        say so with a column language, or --set corpus.options.language=zh --set prompt.language=zh.
    """
    texts: Counter[str] = Counter()
    strange: dict[tuple[str, str], list[str]] = {}
    for clip in clips:
        script = script_of(clip.text)
        if not script:
            continue
        texts[clip.language] += 1
        if script not in _SCRIPTS.get(clip.language, ("LATIN",)):
            strange.setdefault((clip.language, script), []).append(clip.id)
    remarks = []
    for (language, script), ids in strange.items():
        if script == "LATIN" and len(ids) < _LATIN_TOO * texts[language]:
            continue
        name = _NAMES.get(script, f"{script.capitalize()} letters")
        likely = (
            "en"
            if script == "LATIN"
            else next((language for language, signs in _SCRIPTS.items() if script in signs), "")
        )
        other = f", as {likely}," if likely else ","
        remarks.append(
            f"{len(ids):,} of {texts[language]:,} texts of language {language} {'is' if len(ids) == 1 else 'are'} "
            f"written in {name}, as that of {ids[0]}: if the language is another{other} say so with a column language, "
            f"or --set corpus.options.language={likely or 'LANGUAGE'}{' --set prompt.language=zh' * (likely == 'zh')}."
        )
    return remarks


def script_of(text: str) -> str:
    """The script that most letters of a text are of, as Unicode names it; empty where there is no letter.

    Examples:
        >>> script_of("Hi!"), script_of("我 OK 的"), script_of("¿123?")
        ('LATIN', 'CJK', '')
    """
    if text.isascii():
        return "LATIN" if any(map(str.isalpha, text)) else ""
    counts: Counter[str] = Counter()
    for sign in text:
        if sign.isalpha():
            # A word of four Latin letters is two of Chinese.
            counts[_script(sign)] += 1 if sign.isascii() else 2
    return counts.most_common(1)[0][0] if counts else ""


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    words = unicodedata.name(letter, "UNKNOWN").split()
    return words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") and len(words) > 1 else words[0]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} clips ({100 * part / whole if whole else 0.0:.1f} %)"
