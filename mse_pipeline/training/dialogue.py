"""Context: the turns that were said before a clip, as the backbone reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mse_pipeline.backbones.prompt import written_language
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError

COLON = {"en": ": ", "zh": "："}


class Dialogues:
    """The dialogues of a dataset; a clip's context is the turns before it, of its own split.

    Args:
        clips: All clips of the dataset; those without a label were said as well.
        turns: How many turns before a clip are read.
        language: ISO 639-1 code of the prompt, which writes the colon.

    Raises:
        UsageError: Turns are asked for, and no clip tells its dialogue and its place in it.
    """

    def __init__(self, clips: Sequence[Clip], turns: int, language: str = "en") -> None:
        self.turns = turns
        self._colon = COLON[written_language(language)]
        self._spoken: dict[tuple[Split, str], list[tuple[int, Clip]]] = defaultdict(list)
        for clip in clips if turns else ():
            if clip.dialogue is not None and clip.turn is not None:
                self._spoken[clip.split, clip.dialogue].append((clip.turn, clip))
        if turns and not self._spoken:
            raise UsageError("prompt.context asks for previous turns, but no clip tells its dialogue: leave it out.")
        for spoken in self._spoken.values():
            spoken.sort(key=lambda one: one[0])

    def lines(self, clip: Clip) -> list[str]:
        r"""The turns before a clip, the oldest first, then who speaks in it; empty for a clip outside any dialogue.

        Examples:
            >>> said = [("Ross", "Hi."), ("Joey", "Hey."), ("Ross", "So?")]
            >>> clips = [
            ...     Clip(id=str(n), split=Split.TEST, text=text, speaker=speaker, dialogue="7", turn=n)
            ...     for n, (speaker, text) in enumerate(said)
            ... ]
            >>> Dialogues(clips, turns=1).lines(clips[2])
            ['Joey: Hey.\n', 'Ross:']
        """
        if not self.turns or clip.dialogue is None or clip.turn is None:
            return []
        before = [one for turn, one in self._spoken[clip.split, clip.dialogue] if turn < clip.turn]
        said = [f"{self._name(one)}{one.text}\n" for one in before[-self.turns :]]
        return [*said, self._name(clip).rstrip()] if clip.speaker else said

    def _name(self, clip: Clip) -> str:
        return f"{clip.speaker}{self._colon}" if clip.speaker else ""


def last_lines(lines: Sequence[tuple[int, ...]], room: int | None = None) -> tuple[int, ...]:
    """The lines' token ids end to end; the oldest go first where there is no room for all.

    Args:
        lines: Token ids of each, the oldest first.
        room: Most tokens; None for no limit.

    Examples:
        >>> last_lines([(1, 2), (3,), (4, 5)], room=4)
        (3, 4, 5)
    """
    first = 0
    while room is not None and first < len(lines) and sum(map(len, lines[first:])) > room:
        first += 1
    return tuple(token for line in lines[first:] for token in line)
