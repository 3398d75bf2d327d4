"""Word error rate and word times of text.asr on clips whose sentences are known: GRID's and RAVDESS's.

    python -m benchmarks.transcripts DIR --model DIR/whisper-base [--limit N] [--out DIR]

DIR is the folder ``data`` of ../shared. Each line of a file in --out (JSON) is a clip, so that a run that is stopped
goes on; clips are taken in an order that is mixed once and for all, so that the first ones are a fair sample. Words are
compared without case and punctuation (jiwer); `as said` also with numbers as words, as `P2` for GRID's `p two`. A
word's time agrees with the voice activity detector where its middle lies in speech: `as heard` for the times of the
model itself, `as given` for those of the stream, which are cut to the speech.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mse_pipeline.clip import Clip, Split
from mse_pipeline.extractors.acoustic.vad import speech_probabilities, speech_segments
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.text.asr import in_time
from mse_pipeline.extractors.text.spoken import spoken, units
from mse_pipeline.extractors.text.word_checks import TimedWord
from mse_pipeline.media.decode import decode


@dataclass(frozen=True)
class Sentence:
    """A clip and what is said in it."""

    name: str
    media: Path
    said: str


def grid(data: Path) -> list[Sentence]:
    """GRID's clips, sentences of six words as `bin blue at f two now`."""
    with (data / "grid/transcripts.csv").open() as file:
        return [
            Sentence(row["clip"], data / f"grid/{row['clip']}.mpg", row["transcript"]) for row in csv.DictReader(file)
        ]


def ravdess(data: Path) -> list[Sentence]:
    """RAVDESS's clips, two sentences in eight emotions."""
    with (data / "ravdess/labels.csv").open() as file:
        return [
            Sentence(row["clip"], data / f"ravdess/wav/{row['clip']}.flac", row["transcript"])
            for row in csv.DictReader(file)
        ]


SETS = {"grid": grid, "ravdess": ravdess}


def transcribe(sentences: list[Sentence], model: str, out: Path) -> Iterator[dict[str, Any]]:
    """What is heard in each clip, as lines of a file; those that are in it are not heard again."""
    known = {line["clip"]: line for line in map(json.loads, out.open())} if out.is_file() else {}
    # Without the detector, so that the model's own times are kept; `in_time` cuts them below.
    heard = create("text.asr", {"model": model, "vad": 0})
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        for sentence in sentences:
            if sentence.name not in known:
                audio = decode(sentence.media).audio
                if audio is None:
                    raise SystemExit(f"{sentence.media} has no sound.")
                begun = time.process_time()
                features = heard(Clip(id=sentence.name, split=Split.TEST), audio)
                spent = time.process_time() - begun
                line = {
                    "clip": sentence.name,
                    "wanted": sentence.said,
                    "text": features.notes["text"],
                    "language": features.notes["language"],
                    "words": features.notes["words"],
                    "times": features.intervals.tolist(),
                    "seconds": audio.duration,
                    "speech": speech_segments(speech_probabilities(audio.samples)),
                    "cpu": spent,
                }
                file.write(json.dumps(line) + "\n")
                file.flush()
                known[sentence.name] = line
            yield known[sentence.name]


def scores(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Word error rate, share of sentences without an error, and how many words lie in speech."""
    import jiwer

    plain = jiwer.Compose(
        [
            jiwer.ToLowerCase(),
            jiwer.RemovePunctuation(),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
            jiwer.ReduceToListOfListOfWords(),
        ]
    )
    # A clip in which the detector hears nobody has an empty transcript in the stream.
    texts = [line["text"] if line["speech"] else "" for line in lines]
    wanted = [line["wanted"] for line in lines]
    rate = jiwer.wer(wanted, texts, reference_transform=plain, hypothesis_transform=plain)
    right = [
        jiwer.wer(one, other, reference_transform=plain, hypothesis_transform=plain) == 0
        for one, other in zip(wanted, texts, strict=True)
    ]
    as_heard, as_given = [], []
    for line in lines:
        words = [TimedWord(*times, word) for word, times in zip(line["words"], line["times"], strict=True) if word]
        as_heard += [_speaks(word, line["speech"]) for word in words]
        as_given += [_speaks(word, line["speech"]) for word in in_time(words, line["speech"], line["seconds"])]
    said = jiwer.wer(list(map(_as_said, wanted)), list(map(_as_said, texts)))
    return {
        "clips": len(lines),
        "word error rate": rate,
        "as said": said,
        "sentences right": sum(right) / len(right),
        "no speech": sum(not line["speech"] for line in lines),
        "english": sum(line["language"] == "en" for line in lines) / len(lines),
        "in speech as heard": sum(as_heard) / max(len(as_heard), 1),
        "in speech as given": sum(as_given) / max(len(as_given), 1),
        "CPU s a clip": sum(line["cpu"] for line in lines) / len(lines),
    }


def _as_said(text: str) -> str:
    """The words of a text in lower case, numbers as they are said."""
    return " ".join(word for unit in units(text) for word in spoken(unit, "en")).lower()


def _speaks(word: TimedWord, speech: list[list[float]]) -> bool:
    middle = (word.start + word.end) / 2
    return any(begin <= middle <= end for begin, end in speech)


def main() -> None:
    """Transcribe and print one row a set of clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--only", choices=list(SETS), action="append")
    parser.add_argument("--limit", type=int, help="at most so many clips of each set")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the files")
    given = parser.parse_args()
    rows = {}
    for name in given.only or SETS:
        sentences = SETS[name](given.data)
        random.Random(0).shuffle(sentences)
        found = transcribe(sentences[: given.limit], given.model, given.out / f"transcripts-{name}.jsonl")
        rows[name] = scores(list(found))
    table = Table("", *next(iter(rows.values())))
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
